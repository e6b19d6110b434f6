"""The identity service by openstacksdk: as the system's administrator, and what a member may not."""

import openstack.connection
from keystoneauth1.exceptions import Unauthorized

PASSWORD = "a sentence for robots only"


def projects(scene):
    """projects are made, found, changed, deleted; a member sees his own"""
    who, member = scene.of("sys").identity, scene.of("lessee").identity
    made = who.create_project(name="sdk-project", description="one")
    below = who.create_project(name="sdk-below", parent_id=made.id)
    assert who.find_project("sdk-project").id == who.get_project(made.id).id == made.id
    assert who.get_project(below.id).parent_id == made.id
    changed = who.update_project(made, description="two", is_enabled=False)
    assert (changed.description, changed.is_enabled) == ("two", False), changed
    assert {found.id for found in who.projects()} >= {made.id, scene.projects["lessee"]}
    assert {found.id for found in member.projects()} == {scene.projects["lessee"]}
    assert member.find_project("lessee").id == scene.projects["lessee"]
    # One that is there and one that is not, in the same words: clients go on with the id that they were given.
    for foreign in (made.id, "0" * 32, "nobody"):
        scene.refused(403, member.get_project, foreign)
    scene.refused(404, who.get_project, "0" * 32)
    scene.refused(403, member.create_project, name="sdk-mine")
    for project in (below, made):
        who.delete_project(project)
    assert who.find_project("sdk-project") is None


def users(scene):
    """users and groups are made and changed, and a password is its owner's"""
    who = scene.of("sys").identity
    made = who.create_user(name="sdk-user", password=PASSWORD, email="sdk@example.org")
    assert who.find_user("sdk-user").id == made.id and who.get_user(made.id).email == "sdk@example.org"
    group = who.create_group(name="sdk-group")
    who.add_user_to_group(made, group)
    assert who.check_user_in_group(made, group)
    assert [found.id for found in who.group_users(group)] == [made.id]
    who.remove_user_from_group(made, group)
    assert not who.check_user_in_group(made, group)
    who.update_user(made, is_enabled=False)
    assert who.get_user(made.id).is_enabled is False
    scene.refused(403, scene.of("lessee").identity.create_user, name="sdk-mine")
    who.delete_group(group)
    who.delete_user(made)
    assert who.find_user("sdk-user") is None and who.find_group("sdk-group") is None


def roles(scene):
    """roles are given and taken, and a login has them as long as they are given"""
    who = scene.of("sys").identity
    names = {role.name: role for role in who.roles()}
    assert set(names) >= {"admin", "manager", "member", "reader", "service"}, sorted(names)
    own = who.create_role(name="sdk-role")
    who.update_role(own, name="sdk-role2")
    assert who.find_role("sdk-role2").id == own.id
    who.delete_role(own)
    project = who.create_project(name="sdk-roles")
    user = who.create_user(name="sdk-roles", password=PASSWORD)
    who.assign_project_role_to_user(project, user, names["reader"])
    assert who.validate_user_has_project_role(project, user, names["reader"])
    given = list(who.role_assignments(user_id=user.id))
    assert [(found.role["id"], found.scope["project"]["id"]) for found in given] == [(names["reader"].id, project.id)]
    assert [role.name for role in who.role_assignments_filter(project=project, user=user)] == ["reader"]
    login = {"auth_url": f"{scene.clients.service.url}/identity/v3", "username": "sdk-roles", "password": PASSWORD}
    login |= {"project_name": "sdk-roles", "user_domain_name": "Default", "project_domain_name": "Default"}
    robot = openstack.connection.Connection(auth=login, region_name="RegionOne")
    assert list(robot.network.networks()) is not None
    scene.refused(403, robot.network.create_network, name="sdk-reader")
    who.unassign_project_role_from_user(project, user, names["reader"])
    assert not who.validate_user_has_project_role(project, user, names["reader"])
    try:
        robot.network.get("/networks")
        raise AssertionError("the token outlives the role")
    except Unauthorized:
        robot.close()
    who.delete_user(user)
    who.delete_project(project)


def application_credentials(scene):
    """an application credential logs in with less than its owner has, until it is deleted"""
    connection = scene.of("lessee")
    mine = connection.identity
    user, project = connection.current_user_id, connection.current_project_id
    assert project == scene.projects["lessee"]
    made = mine.create_application_credential(user, "sdk-robot", roles=[{"name": "reader"}], description="a robot")
    assert mine.find_application_credential(user, "sdk-robot").id == made.id
    assert [found.id for found in mine.application_credentials(user) if found.name == "sdk-robot"] == [made.id]
    login = {"auth_url": f"{scene.clients.service.url}/identity/v3"}
    login |= {"application_credential_id": made.id, "application_credential_secret": made.secret}
    kind = "v3applicationcredential"
    with openstack.connection.Connection(auth_type=kind, auth=login, region_name="RegionOne") as robot:
        assert list(robot.network.networks()) is not None
        scene.refused(403, robot.network.create_network, name="sdk-robot")
        scene.refused(403, robot.identity.create_application_credential, robot.current_user_id, "more")
    mine.delete_application_credential(user, made.id)
    assert mine.find_application_credential(user, "sdk-robot") is None


def tokens(scene):
    """a token is told apart, and its catalog names every service"""
    connection = scene.of("lessee")
    mine = connection.identity
    answer = mine.get("/auth/tokens", headers={"X-Subject-Token": connection.auth_token})
    token = answer.json()["token"]
    assert token["project"]["id"] == scene.projects["lessee"], token
    assert {role["name"] for role in token["roles"]} >= {"member", "reader"}, token
    assert {service["type"] for service in token["catalog"]} >= {"identity", "baremetal", "network", "image"}, token
    assert [found.id for found in mine.user_projects(connection.current_user_id)] == [scene.projects["lessee"]]


CHECKS = [projects, users, roles, application_credentials, tokens]

"""The network service by openstacksdk: as a member, and as an administrator where it differs."""


def networks(scene):
    """networks are made, found, changed, tagged, deleted; a stranger sees none"""
    net = scene.of("lessee").network
    made = net.create_network(name="sdk-net", description="one", mtu=1400)
    assert (made.project_id, made.is_shared, made.mtu) == (scene.projects["lessee"], False, 1400), made
    assert net.find_network("sdk-net").id == net.find_network(made.id).id == made.id
    assert net.find_network("nobody") is None
    changed = net.update_network(made, name="sdk-net2", description="two", is_admin_state_up=False)
    assert (changed.name, changed.description, changed.is_admin_state_up) == ("sdk-net2", "two", False), changed
    assert [found.id for found in net.networks(name="sdk-net2")] == [made.id]
    net.set_tags(made, ["a", "b"])
    assert [found.id for found in net.networks(tags="a,b")] == [made.id]
    assert sorted(net.get_network(made.id).tags) == ["a", "b"]
    scene.refused(404, scene.of("other").network.get_network, made.id)
    assert made.id not in [found.id for found in scene.of("other").network.networks()]
    scene.refused(403, net.create_network, name="sdk-public", is_shared=True)
    scene.refused(403, net.create_network, name="sdk-vlan", provider_network_type="vlan")
    net.delete_network(made)
    assert net.find_network(made.id) is None
    scene.refused(404, net.delete_network, made.id, ignore_missing=False)


def shared(scene):
    """an administrator's shared network is everybody's to use, and his to change"""
    admin, member = scene.of("sys").network, scene.of("lessee").network
    made = admin.create_network(name="sdk-shared", is_shared=True, project_id=scene.projects["owner"])
    subnet = admin.create_subnet(network_id=made.id, ip_version=4, cidr="10.61.0.0/24")
    assert member.find_network("sdk-shared").is_shared
    port = member.create_port(network_id=made.id)
    assert port.fixed_ips[0]["subnet_id"] == subnet.id, port
    scene.refused(403, member.update_network, made.id, name="mine")
    scene.refused(403, member.delete_network, made.id)
    scene.refused(409, admin.delete_network, made.id)
    member.delete_port(port)
    admin.delete_network(made)


def subnets(scene):
    """subnets give addresses and routes, and do not overlap"""
    net = scene.of("lessee").network
    network = net.create_network(name="sdk-sub")
    made = net.create_subnet(
        network_id=network.id,
        name="sdk-sub",
        ip_version=4,
        cidr="10.62.0.0/24",
        dns_nameservers=["10.62.0.2"],
        allocation_pools=[{"start": "10.62.0.100", "end": "10.62.0.101"}],
        host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.62.0.3"}],
    )
    assert (made.gateway_ip, made.is_dhcp_enabled) == ("10.62.0.1", True), made
    assert net.find_subnet("sdk-sub").host_routes[0]["nexthop"] == "10.62.0.3"
    changed = net.update_subnet(made, gateway_ip=None, dns_nameservers=["10.62.0.9"], is_dhcp_enabled=False)
    assert (changed.gateway_ip, changed.dns_nameservers) == (None, ["10.62.0.9"]), changed
    assert [found.id for found in net.subnets(network_id=network.id, cidr="10.62.0.0/24")] == [made.id]
    scene.refused(400, net.create_subnet, network_id=network.id, ip_version=4, cidr="10.62.0.128/25")
    # What is not there is refused in so many words.
    scene.refused(400, net.create_subnet, network_id=network.id, ip_version=6, cidr="fd00:62::/64")
    one, two = (net.create_port(network_id=network.id, fixed_ips=[{"subnet_id": made.id}]) for _ in range(2))
    addresses = sorted(port.fixed_ips[0]["ip_address"] for port in (one, two))
    assert addresses == ["10.62.0.100", "10.62.0.101"], addresses
    scene.refused(409, net.create_port, network_id=network.id, fixed_ips=[{"subnet_id": made.id}])
    scene.refused(409, net.delete_subnet, made.id)
    for port in (one, two):
        net.delete_port(port)
    net.delete_subnet(made)
    assert net.find_subnet("sdk-sub") is None
    net.delete_network(network)


def ports(scene):
    """ports have addresses of their own choice, are found by what they have, and are nobody else's"""
    net = scene.of("lessee").network
    network = net.create_network(name="sdk-port")
    subnet = net.create_subnet(network_id=network.id, ip_version=4, cidr="10.63.0.0/24")
    wish = [{"subnet_id": subnet.id, "ip_address": "10.63.0.77"}]
    made = net.create_port(network_id=network.id, name="sdk-port", fixed_ips=wish, device_owner="baremetal:none")
    assert (made.fixed_ips[0]["ip_address"], made.status) == ("10.63.0.77", "DOWN"), made
    scene.refused(409, net.create_port, network_id=network.id, fixed_ips=wish)
    assert net.find_port("sdk-port").id == made.id
    assert [found.id for found in net.ports(name="sdk-port", status="DOWN")] == [made.id]
    assert [found.id for found in net.ports(fixed_ips="ip_address=10.63.0.77")] == [made.id]
    changed = net.update_port(made, description="desk", name="sdk-port2", mac_address="52:54:00:63:00:01")
    assert (changed.description, changed.mac_address) == ("desk", "52:54:00:63:00:01"), changed
    net.set_tags(made, ["blue"])
    assert [found.id for found in net.ports(tags="blue")] == [made.id]
    scene.refused(404, scene.of("other").network.get_port, made.id)
    scene.refused(403, net.create_port, network_id=network.id, project_id=scene.projects["other"])
    net.delete_port(made)
    assert net.find_port("sdk-port2") is None
    net.delete_network(network)
    assert net.find_subnet(subnet.id) is None


def trunks(scene):
    """a trunk carries further networks to one port"""
    net = scene.of("lessee").network
    plain, tagged = (net.create_network(name=f"sdk-trunk{n}") for n in range(2))
    parent, child = (net.create_port(network_id=network.id) for network in (plain, tagged))
    made = net.create_trunk(name="sdk-trunk", port_id=parent.id)
    net.add_trunk_subports(made, [{"port_id": child.id, "segmentation_type": "vlan", "segmentation_id": 101}])
    (sub,) = net.get_trunk_subports(made)["sub_ports"]
    assert (sub["port_id"], sub["segmentation_id"]) == (child.id, 101), sub
    assert net.find_trunk("sdk-trunk").id == made.id
    assert net.get_port(parent.id).trunk_details["sub_ports"][0]["port_id"] == child.id
    net.delete_trunk_subports(made, [{"port_id": child.id}])
    assert not net.get_trunk_subports(made)["sub_ports"]
    net.delete_trunk(made)
    for port in (parent, child):
        net.delete_port(port)
    for network in (plain, tagged):
        net.delete_network(network)


def quotas(scene):
    """a project's limits are shown to it, and set by an administrator"""
    member, admin = scene.of("lessee").network, scene.of("sys").network
    project = scene.projects["lessee"]
    before = member.get_quota(project)
    assert before.networks > 0, before
    detail = member.get_quota(project, details=True)
    assert detail.networks["limit"] == before.networks, detail
    scene.refused(403, member.update_quota, project, networks=1000)
    admin.update_quota(project, networks=detail.networks["used"] + 1)
    made = member.create_network(name="sdk-last")
    scene.refused(409, member.create_network, name="sdk-too-many")
    member.delete_network(made)
    admin.delete_quota(project)
    assert member.get_quota(project).networks == before.networks
    assert {extension.alias for extension in member.extensions()} >= {"quotas", "trunk"}


CHECKS = [networks, shared, subnets, ports, trunks, quotas]

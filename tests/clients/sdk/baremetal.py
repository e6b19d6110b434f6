"""The bare-metal service by openstacksdk, on nodes of the fake driver."""

WAIT = 60


def enrol(scene, name, **more):
    """A node that its owner has brought to "available", lent to the lessee."""
    metal = scene.of("sys").baremetal
    owners = {"owner": scene.projects["owner"], "lessee": scene.projects["lessee"]}
    node = metal.create_node(name=name, driver="fake-hardware", network_interface="flat", **(owners | more))
    assert (node.name, node.provision_state) == (name, "enroll"), node
    node = metal.set_node_provision_state(node, "manage", wait=True, timeout=WAIT)
    assert node.provision_state == "manageable", node
    node = metal.set_node_provision_state(node, "provide", wait=True, timeout=WAIT)
    assert node.provision_state == "available", node
    return node


def nodes(scene):
    """nodes are made, found, changed by update and patch, and deleted"""
    metal = scene.of("sys").baremetal
    node = metal.create_node(name="sdk1", driver="fake-hardware", extra={"a": 1}, properties={"cpu_arch": "x86_64"})
    assert metal.get_node(node.id).extra == {"a": 1}
    assert metal.get_node("sdk1", fields=["uuid", "name"]).id == node.id
    assert metal.find_node("sdk1").id == node.id
    assert metal.find_node("nobody") is None
    changed = metal.update_node(node, description="one", extra={"a": 1, "b": 2})
    assert (changed.description, changed.extra) == ("one", {"a": 1, "b": 2}), changed
    patch = [
        {"op": "replace", "path": "/extra/b", "value": 3},
        {"op": "remove", "path": "/extra/a"},
        {"op": "add", "path": "/resource_class", "value": "sdk"},
    ]
    metal.patch_node("sdk1", patch)
    seen = metal.get_node("sdk1")
    assert (seen.extra, seen.resource_class, seen.properties) == ({"b": 3}, "sdk", {"cpu_arch": "x86_64"}), seen
    scene.refused(400, metal.patch_node, "sdk1", [{"op": "replace", "path": "/provision_state", "value": "active"}])
    scene.refused(409, metal.create_node, name="sdk1", driver="fake-hardware")
    scene.refused(400, metal.create_node, name="sdk2", driver="no-such")
    metal.delete_node("sdk1")
    scene.refused(404, metal.get_node, "sdk1")
    assert metal.delete_node("sdk1") is None
    scene.refused(404, metal.delete_node, "sdk1", ignore_missing=False)


def lists(scene):
    """nodes are listed by filters, in pages, in detail"""
    metal = scene.of("sys").baremetal
    driver = "fake-hardware"
    made = [metal.create_node(name=f"sdk-list{n}", driver=driver, resource_class=f"c{n % 2}") for n in range(5)]

    def named(found):
        return sorted(node.name for node in found if node.name.startswith("sdk-list"))

    assert named(metal.nodes(resource_class="c1")) == ["sdk-list1", "sdk-list3"]
    assert named(metal.nodes(details=True, resource_class="c0")) == ["sdk-list0", "sdk-list2", "sdk-list4"]
    assert named(metal.nodes(limit=2)) == [f"sdk-list{n}" for n in range(5)]
    assert named(metal.nodes(provision_state="active", resource_class="c1")) == []
    assert named(metal.nodes(is_maintenance=False, driver=driver, resource_class="c1", is_associated=False))
    metal.update_node(made[1], owner=scene.projects["owner"])
    assert named(metal.nodes(details=True, owner=scene.projects["owner"])) == ["sdk-list1"]
    assert named(scene.of("owner").baremetal.nodes()) == ["sdk-list1"]
    assert named(scene.of("other").baremetal.nodes()) == []
    assert all(set(node.to_dict()) for node in metal.nodes(fields=["uuid", "name"]))
    for node in made:
        metal.delete_node(node)


def provisioning(scene):
    """a node goes from enroll to active and back, waited for, by its lessee"""
    node = enrol(scene, "sdk-p", resource_class="sdk-p")
    metal = scene.of("lessee").baremetal
    scene.refused(404, scene.of("other").baremetal.set_node_provision_state, node.id, "active")
    drive = {"meta_data": {"name": "sdk-p"}, "user_data": "#cloud-config\n{}\n"}
    done = metal.set_node_provision_state(node, "active", config_drive=drive, wait=True, timeout=WAIT)
    assert done.provision_state == "active", done
    done = metal.set_node_provision_state(node, "rebuild", config_drive=drive, wait=True, timeout=WAIT)
    assert done.provision_state == "active", done
    scene.refused(400, metal.set_node_provision_state, node, "provide")
    done = metal.set_node_provision_state(node, "rescue", rescue_password="five green kites", wait=True, timeout=WAIT)
    assert done.provision_state == "rescue", done
    # The client itself does not know what "unrescue" leads to.
    metal.set_node_provision_state(node, "unrescue")
    metal.wait_for_nodes_provision_state([node], "active", timeout=WAIT)
    done = metal.set_node_provision_state(node, "deleted", wait=True, timeout=WAIT)
    assert done.provision_state == "available", done
    (again,) = metal.wait_for_nodes_provision_state([node], "available", timeout=WAIT)
    assert again.id == node.id
    owner = scene.of("sys").baremetal
    owner.set_node_provision_state(node, "manage", wait=True, timeout=WAIT)
    steps = [{"interface": "deploy", "step": "erase_devices_metadata"}]
    cleaned = owner.set_node_provision_state(node, "clean", clean_steps=steps, wait=True, timeout=WAIT)
    assert cleaned.provision_state == "manageable", cleaned
    inspected = owner.set_node_provision_state(node, "inspect", wait=True, timeout=WAIT)
    assert inspected.provision_state == "manageable", inspected
    owner.delete_node(node)


def power(scene):
    """power is switched, waited for, and refused to a stranger"""
    node = enrol(scene, "sdk-w")
    metal = scene.of("lessee").baremetal
    for target, state in (("power on", "power on"), ("rebooting", "power on"), ("power off", "power off")):
        metal.set_node_power_state(node, target, wait=True, timeout=WAIT)
        assert metal.get_node(node).power_state == state, target
    metal.set_node_power_state(node, "power on")
    assert metal.wait_for_node_power_state(node, "power on", timeout=WAIT).power_state == "power on"
    scene.refused(404, scene.of("other").baremetal.set_node_power_state, node.id, "power off")
    admin = scene.of("sys").baremetal
    assert "pxe" in admin.get_node_supported_boot_devices(node)["supported_boot_devices"]
    admin.set_node_boot_device(node, "disk", persistent=True)
    device = admin.get_node_boot_device(node)
    assert (device["boot_device"], device["persistent"]) == ("disk", True), device
    admin.wait_for_node_reservation(node, timeout=WAIT)
    admin.delete_node(node)


def upkeep(scene):
    """maintenance, traits, validation, console and inventory of a node"""
    metal = scene.of("sys").baremetal
    node = enrol(scene, "sdk-u", resource_class="sdk-u")
    metal.set_node_maintenance(node, "a fan")
    seen = metal.get_node(node.id)
    assert (seen.is_maintenance, seen.maintenance_reason) == (True, "a fan"), seen
    assert [found.id for found in metal.nodes(is_maintenance=True)] == [node.id]
    metal.unset_node_maintenance(node)
    assert metal.get_node(node.id).is_maintenance is False
    metal.update_node(node.id, is_maintenance=True)
    assert metal.get_node(node.id).is_maintenance is True
    metal.update_node(node.id, is_maintenance=False)
    metal.set_node_traits(node.id, ["CUSTOM_A", "CUSTOM_B"])
    metal.add_node_trait(node.id, "CUSTOM_C")
    assert metal.remove_node_trait(node.id, "CUSTOM_A", ignore_missing=False)
    assert sorted(metal.get_node(node.id).traits) == ["CUSTOM_B", "CUSTOM_C"]
    scene.refused(400, metal.add_node_trait, node.id, "no trait")
    results = metal.validate_node(node.id, required=("power", "management"))
    assert results["power"].result and results["deploy"] is not None, results
    scene.refused(404, metal.get_node_inventory, node.id)
    assert metal.get_node_console(node.id)["console_enabled"] is False
    assert metal.list_node_firmware(node.id) is not None
    metal.delete_node(node.id)


def ports(scene):
    """ports and port groups follow their node"""
    metal = scene.of("sys").baremetal
    node = enrol(scene, "sdk-n")
    group = metal.create_port_group(node_id=node.id, name="sdk-bond", address="52:54:00:51:00:ff", mode="802.3ad")
    one = metal.create_port(node_id=node.id, address="52:54:00:51:00:01", port_group_id=group.id)
    two = metal.create_port(node_id=node.id, address="52:54:00:51:00:02", is_pxe_enabled=False)
    assert metal.get_port(one.id).port_group_id == group.id
    assert metal.find_port_group("sdk-bond").mode == "802.3ad"
    assert {port.id for port in metal.ports(node=node.id)} == {one.id, two.id}
    assert [port.id for port in metal.ports(address="52:54:00:51:00:02", details=True)] == [two.id]
    assert {port.id for port in scene.of("lessee").baremetal.ports(details=True)} >= {one.id, two.id}
    assert not list(scene.of("other").baremetal.ports())
    scene.refused(409, metal.update_port, two.id, is_pxe_enabled=True)
    metal.set_node_maintenance(node.id, "another cable")
    metal.update_port(two.id, is_pxe_enabled=True)
    metal.patch_port(two.id, [{"op": "add", "path": "/extra/slot", "value": "3"}])
    seen = metal.get_port(two.id)
    assert (seen.is_pxe_enabled, seen.extra) == (True, {"slot": "3"}), seen
    metal.update_port_group(group.id, extra={"a": "b"})
    assert metal.get_port_group(group.id).extra == {"a": "b"}
    scene.refused(409, metal.create_port, node_id=node.id, address="52:54:00:51:00:01")
    scene.refused(400, metal.create_port, node_id=node.id, address="no address")
    metal.delete_port(one)
    assert metal.find_port(one.id) is None
    metal.delete_port(two)
    metal.delete_port_group(group)
    assert not list(metal.port_groups(node=node.id))
    metal.delete_node(node)


def allocations(scene):
    """a member allocates a node, waits for it, and gives it back"""
    node = enrol(scene, "sdk-a", resource_class="sdk-a")
    scene.of("sys").baremetal.set_node_traits(node.id, ["CUSTOM_FAST"])
    metal = scene.of("lessee").baremetal
    made = metal.create_allocation(name="sdk-one", resource_class="sdk-a", traits=["CUSTOM_FAST"])
    done = metal.wait_for_allocation(made, timeout=WAIT)
    assert (done.state, done.node_id) == ("active", node.id), done
    assert metal.get_node(node.id).allocation_id == made.id
    metal.update_allocation(made.id, extra={"a": "b"})
    assert metal.get_allocation("sdk-one").extra == {"a": "b"}
    assert [found.id for found in metal.allocations(resource_class="sdk-a")] == [made.id]
    assert not [found for found in scene.of("other").baremetal.allocations()]
    more = metal.create_allocation(resource_class="sdk-a")
    more = metal.wait_for_allocation(more, timeout=WAIT, ignore_error=True)
    assert (more.state, bool(more.last_error)) == ("error", True), more
    for allocation in (made, more):
        metal.delete_allocation(allocation.id)
    assert metal.get_node(node.id).allocation_id is None
    scene.of("sys").baremetal.delete_node(node.id)


def vifs(scene):
    """a network's port is attached to a node, and told by the node's port"""
    node = enrol(scene, "sdk-v")
    card = scene.of("sys").baremetal.create_port(node_id=node.id, address="52:54:00:52:00:01")
    lessee = scene.of("lessee")
    network = lessee.network.create_network(name="sdk-vif")
    lessee.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.51.0.0/24")
    port = lessee.network.create_port(network_id=network.id, name="sdk-vif")
    lessee.baremetal.attach_vif_to_node(node.id, port.id)
    assert lessee.baremetal.list_node_vifs(node.id) == [port.id]
    assert lessee.baremetal.get_port(card.id).internal_info["tenant_vif_port_id"] == port.id
    assert lessee.network.get_port(port.id).mac_address == "52:54:00:52:00:01"
    scene.refused(404, scene.of("other").baremetal.attach_vif_to_node, node.id, port.id)
    assert lessee.baremetal.detach_vif_from_node(node.id, port.id)
    assert lessee.baremetal.list_node_vifs(node.id) == []
    lessee.network.delete_port(port)
    lessee.network.delete_network(network)
    scene.of("sys").baremetal.delete_node(node.id)


def volumes(scene):
    """volume connectors and targets of a node"""
    metal = scene.of("sys").baremetal
    node = enrol(scene, "sdk-vol")
    metal.set_node_power_state(node, "power off", wait=True, timeout=WAIT)
    iqn = "iqn.2026-01.example:sdk"
    connector = metal.create_volume_connector(node_id=node.id, type="iqn", connector_id=iqn)
    target = metal.create_volume_target(node_id=node.id, volume_type="iscsi", boot_index=0, volume_id="v-1")
    assert metal.get_volume_connector(connector.id).connector_id == iqn
    assert metal.find_volume_target(target.id).boot_index == 0
    assert [found.id for found in metal.volume_connectors(node=node.id, details=True)] == [connector.id]
    metal.update_volume_target(target.id, volume_id="v-2")
    metal.patch_volume_connector(connector.id, [{"op": "add", "path": "/extra/a", "value": "b"}])
    assert metal.get_volume_target(target.id).volume_id == "v-2"
    assert metal.get_volume_connector(connector.id).extra == {"a": "b"}
    scene.refused(403, scene.of("lessee").baremetal.create_volume_target, node_id=node.id, volume_type="iscsi")
    metal.delete_volume_connector(connector.id)
    metal.delete_volume_target(target.id)
    assert not list(metal.volume_targets(node=node.id)) and not list(metal.volume_connectors(node=node.id))
    metal.delete_node(node)


def chassis(scene):
    """chassis hold nodes"""
    metal = scene.of("sys").baremetal
    box = metal.create_chassis(description="rack 1", extra={"u": 7})
    node = metal.create_node(name="sdk-c", driver="fake-hardware", chassis_id=box.id)
    assert metal.get_node(node.id).chassis_id == box.id
    assert [found.id for found in metal.chassis(details=True) if found.extra == {"u": 7}] == [box.id]
    metal.update_chassis(box.id, description="rack 2")
    metal.patch_chassis(box.id, [{"op": "replace", "path": "/extra/u", "value": 8}])
    seen = metal.get_chassis(box.id)
    assert (seen.description, seen.extra) == ("rack 2", {"u": 8}), seen
    scene.refused(400, metal.delete_chassis, box.id)
    metal.delete_node(node)
    metal.delete_chassis(box.id)
    assert metal.find_chassis(box.id) is None


def templates(scene):
    """deploy templates and runbooks"""
    metal = scene.of("sys").baremetal
    steps = [{"interface": "deploy", "step": "erase_devices_metadata", "args": {}, "priority": 50}]
    template = metal.create_deploy_template(name="CUSTOM_SDK", steps=steps)
    assert metal.get_deploy_template("CUSTOM_SDK").steps[0]["priority"] == 50
    metal.update_deploy_template(template.id, extra={"a": "b"})
    metal.patch_deploy_template(template.id, [{"op": "replace", "path": "/name", "value": "CUSTOM_SDK2"}])
    found = metal.get_deploy_template("CUSTOM_SDK2")
    assert found.extra == {"a": "b"}, found
    assert [found.id for found in metal.deploy_templates() if found.name == "CUSTOM_SDK2"] == [template.id]
    metal.delete_deploy_template(template.id)
    assert metal.find_deploy_template("CUSTOM_SDK2") is None
    order = [{"interface": "deploy", "step": "erase_devices_metadata", "args": {}, "order": 1}]
    book = metal.create_runbook(name="CUSTOM_BOOK", steps=order)
    metal.update_runbook(book.id, extra={"c": "d"})
    assert metal.get_runbook("CUSTOM_BOOK").extra == {"c": "d"}
    metal.delete_runbook(book.id)
    assert not [found for found in metal.runbooks() if found.name == "CUSTOM_BOOK"]


def service(scene):
    """drivers and conductors"""
    metal = scene.of("sys").baremetal
    found = {driver.name: driver for driver in metal.drivers(details=True)}
    assert {"fake-hardware", "ipmi", "redfish"} <= set(found), sorted(found)
    assert metal.get_driver("fake-hardware").hosts
    assert metal.list_driver_vendor_passthru("fake-hardware") is not None
    (conductor,) = metal.conductors(details=True)
    assert conductor.alive and metal.get_conductor(conductor.hostname).hostname == conductor.hostname
    scene.refused(403, lambda: list(scene.of("lessee").baremetal.drivers()))


CHECKS = [
    nodes,
    lists,
    provisioning,
    power,
    upkeep,
    ports,
    allocations,
    vifs,
    volumes,
    chassis,
    templates,
    service,
]

//! Rows about networks and images of projects.

use super::row::Row;
use super::scene::Making;
use serde_json::{Value, json};

pub(super) async fn make(scene: &mut Making) {
    let v2 = "/network/v2.0";
    let network = |name: &str| json!({"network": {"name": name}});
    scene.make("network", "les-adm", &format!("{v2}/networks"), network("private"), "/network/id").await;
    let body = json!({"subnet": {"network_id": "{network}", "cidr": "10.5.0.0/24", "ip_version": 4}});
    scene.make("subnet", "les-adm", &format!("{v2}/subnets"), body, "/subnet/id").await;
    for name in ["vif", "attached"] {
        let body = json!({"port": {"network_id": "{network}", "name": name}});
        scene.make(name, "les-adm", &format!("{v2}/ports"), body, "/port/id").await;
    }
    let attach = json!({"id": "{attached}", "port_uuid": "{second}"});
    scene.ask("les-adm", "POST", "/baremetal/v1/nodes/{node}/vifs", attach).await;
    scene.make("owner-network", "own-adm", &format!("{v2}/networks"), network("own"), "/network/id").await;
    let body = json!({"port": {"network_id": "{owner-network}"}});
    scene.make("owner-vif", "own-adm", &format!("{v2}/ports"), body, "/port/id").await;
    let body = json!({"network": {"name": "all", "shared": true}});
    scene.make("shared", "oth-adm", &format!("{v2}/networks"), body, "/network/id").await;

    let image = |visibility: &str| json!({"name": "debian", "visibility": visibility, "disk_format": "raw", "container_format": "bare"});
    for (name, visibility) in [
        ("image", "private"),
        ("queued", "private"),
        ("lent", "shared"),
        ("community", "community"),
        ("public", "public"),
    ] {
        scene.make(name, "les-adm", "/image/v2/images", image(visibility), "/id").await;
        if name != "queued" {
            let path = format!("/image/v2/images/{}/file", scene.things[name]);
            scene.upload("les-adm", &path, name).await;
        }
    }
    scene.ask("les-adm", "POST", "/image/v2/images/{lent}/members", json!({"member": "{owner}"})).await;
}

pub(super) fn rows() -> Vec<Row> {
    [networks(), ports(), images()].concat()
}

fn network(method: &'static str, path: &str) -> Row {
    Row::new("network", method, path)
}

fn networks() -> Vec<Row> {
    let create = |body: Value| network("POST", "/networks").with(json!({ "network": body }));
    let mut rows = vec![
        create(json!({"name": "n"})).called("of one's own"),
        create(json!({"name": "n", "shared": true})).called("shared"),
        create(json!({"name": "n", "router:external": true})).called("router:external"),
        create(json!({"provider:network_type": "vlan", "provider:segmentation_id": 7}))
            .called("provider:segmentation_id"),
        create(json!({"name": "n", "project_id": "{lessee}"})).called("project_id {lessee}"),
        network("GET", "/networks").lists("{network}"),
        network("GET", "/networks").lists("{shared}"),
        network("GET", "/networks/{network}"),
        network("GET", "/networks/{network}").shows("/network/provider:segmentation_id"),
        network("PUT", "/networks/{network}").with(json!({"network": {"name": "x"}})).called("name"),
        network("PUT", "/networks/{network}").with(json!({"network": {"shared": true}})).called("shared"),
        network("DELETE", "/networks/{owner-network}"),
        network("DELETE", "/networks/{network}"),
        network("GET", "/networks/{shared}"),
        network("PUT", "/networks/{shared}").with(json!({"network": {"name": "x"}})).called("name"),
        network("DELETE", "/networks/{shared}"),
        network("PUT", "/networks/{network}/tags/t"),
        network("GET", "/subnets").lists("{subnet}"),
        network("GET", "/subnets/{subnet}"),
        network("PUT", "/subnets/{subnet}").with(json!({"subnet": {"name": "x"}})).called("name"),
        network("DELETE", "/subnets/{subnet}"),
        network("GET", "/quotas"),
        network("GET", "/quotas/{lessee}"),
        network("PUT", "/quotas/{lessee}").with(json!({"quota": {"port": 9}})),
        network("DELETE", "/quotas/{lessee}"),
    ];
    for of in ["{network}", "{shared}"] {
        let body = json!({"subnet": {"network_id": of, "cidr": "10.7.0.0/24", "ip_version": 4}});
        rows.push(network("POST", "/subnets").with(body).called(format!("in {of}")));
    }
    rows
}

fn ports() -> Vec<Row> {
    let create = |of: &str, more: Value| {
        let mut body = json!({"network_id": of});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        network("POST", "/ports").with(json!({ "port": body }))
    };
    let change =
        |what: &str, body: Value| network("PUT", "/ports/{vif}").with(json!({"port": {what: body}})).called(what);
    vec![
        create("{network}", json!({})).called("in {network}"),
        create("{network}", json!({"binding:host_id": "{node}"})).called("in {network} with binding:host_id"),
        create("{network}", json!({"mac_address": "fa:16:3e:00:00:01"})).called("in {network} with mac_address"),
        create("{network}", json!({"fixed_ips": [{"ip_address": "10.5.0.77"}]})).called("in {network} with fixed_ips"),
        create("{shared}", json!({})).called("in {shared}"),
        create("{shared}", json!({"project_id": "{lessee}"})).called("in {shared} for {lessee}"),
        create("{shared}", json!({"mac_address": "fa:16:3e:00:00:01"})).called("in {shared} with mac_address"),
        network("GET", "/ports").lists("{vif}"),
        network("GET", "/ports/{vif}"),
        network("GET", "/ports/{vif}").shows("/port/binding:host_id"),
        network("GET", "/ports/{vif}").shows("/port/binding:profile"),
        change("name", json!("x")),
        change("binding:host_id", json!("{node}")),
        change("binding:profile", json!({})),
        change("mac_address", json!("fa:16:3e:00:00:01")),
        change("device_owner", json!("baremetal:none")),
        network("DELETE", "/ports/{vif}"),
        network("DELETE", "/ports/{attached}"),
    ]
}

fn image(method: &'static str, path: &str) -> Row {
    Row::new("image", method, path)
}

fn images() -> Vec<Row> {
    let create = |visibility: &str| {
        let body = json!({"name": "n", "visibility": visibility, "disk_format": "raw", "container_format": "bare"});
        image("POST", "/images").with(body).called(visibility)
    };
    let patch = |ident: &str, member: &str, value: Value, what: &str| {
        let body = json!([{"op": "replace", "path": format!("/{member}"), "value": value}]);
        image("PATCH", &format!("/images/{ident}")).with(body).called(what)
    };
    let mut rows = vec![
        patch("{image}", "name", json!("x"), "name"),
        patch("{image}", "owner", json!("{other}"), "owner {other}"),
        patch("{image}", "protected", json!(true), "protected"),
        patch("{image}", "visibility", json!("community"), "visibility community"),
        patch("{image}", "visibility", json!("public"), "visibility public"),
        patch("{image}", "visibility", json!("shared"), "visibility shared"),
        patch("{public}", "name", json!("x"), "name"),
        image("PUT", "/images/{queued}/file").with("another".into()),
        image("PUT", "/images/{image}/tags/t"),
        image("DELETE", "/images/{image}"),
        image("DELETE", "/images/{public}"),
        image("POST", "/images/{image}/actions/deactivate"),
        image("POST", "/images/{image}/actions/reactivate"),
        image("GET", "/images/{lent}/members"),
        image("POST", "/images/{lent}/members").with(json!({"member": "{other}"})).called("{other}"),
        image("PUT", "/images/{lent}/members/{owner}").with(json!({"status": "accepted"})),
        image("DELETE", "/images/{lent}/members/{owner}"),
        image("GET", "/info/import"),
        image("GET", "/info/usage"),
        image("GET", "/schemas/image"),
    ];
    rows.extend(["private", "shared", "community", "public"].map(create));
    for thing in ["{image}", "{lent}", "{community}", "{public}"] {
        rows.extend([
            image("GET", "/images").lists(thing),
            image("GET", &format!("/images/{thing}")),
            image("GET", &format!("/images/{thing}/file")),
        ]);
    }
    rows
}

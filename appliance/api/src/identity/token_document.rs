//! Keystone's document of a token.

use super::catalog::catalog;
use super::document::{domain_named, time};
use leasehold_domain::identity::{Directory, Scope, Token, User, id_text};
use serde_json::{Value, json};

/// The document; `with_catalog`: the base URL and region of a catalog to show.
pub(super) fn token(directory: &Directory, user: &User, token: &Token, with_catalog: Option<(&str, &str)>) -> Value {
    let mut document = json!({
        "methods": token.methods,
        "user": {
            "id": id_text(user.id.0),
            "name": user.name,
            "domain": domain_named(directory, user.domain),
            "password_expires_at": null,
        },
        "audit_ids": [token.audit_id],
        "issued_at": time(token.issued_at),
        "expires_at": time(token.expires_at),
    });
    match token.scope {
        Scope::Unscoped => {}
        Scope::System => document["system"] = json!({"all": true}),
        Scope::Domain(id) => document["domain"] = domain_named(directory, id),
        Scope::Project(id) => {
            if let Some(project) = directory.project(id) {
                let domain = domain_named(directory, project.domain);
                document["project"] = json!({"id": project.id_text(), "name": project.name, "domain": domain});
                document["is_domain"] = false.into();
            }
        }
    }
    if token.scope != Scope::Unscoped {
        let roles = token.roles.iter().filter_map(|id| directory.role(*id));
        document["roles"] = roles.map(|role| json!({"id": id_text(role.id.0), "name": role.name})).collect();
        if let Some((base, region)) = with_catalog {
            document["catalog"] = catalog(base, region);
        }
    }
    if let Some(credential) = token.credential.and_then(|id| directory.credential(id)) {
        document["application_credential"] = json!({
            "id": id_text(credential.id.0),
            "name": credential.name,
            "restricted": !credential.unrestricted,
        });
    }
    json!({"token": document})
}

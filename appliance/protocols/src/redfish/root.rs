//! The service root, collections, links, and the session service.

use super::lenient;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A reference to another resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Link {
    #[serde(rename = "@odata.id", default, deserialize_with = "lenient::text")]
    pub id: Option<String>,
}

impl Link {
    /// The path it points to; `None` for an empty link.
    pub fn path(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.is_empty())
    }
}

/// `/redfish/v1/`: where everything begins. The one resource that a BMC shows without authentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceRoot {
    #[serde(deserialize_with = "lenient::text")]
    pub redfish_version: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub vendor: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub product: Option<String>,
    #[serde(rename = "UUID", deserialize_with = "lenient::text")]
    pub uuid: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub systems: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub managers: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub chassis: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub session_service: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub registries: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub update_service: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub links: RootLinks,
    #[serde(deserialize_with = "lenient::object")]
    pub protocol_features_supported: ProtocolFeatures,
    /// Everything else, the vendor's own members (`Oem`) among it.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `Links` of the service root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootLinks {
    #[serde(deserialize_with = "lenient::object")]
    pub sessions: Link,
}

/// What the BMC can do beyond plain GET.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProtocolFeatures {
    #[serde(deserialize_with = "lenient::object")]
    pub expand_query: ExpandQuery,
}

/// Support of `$expand` (DSP0266, 7.3.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExpandQuery {
    #[serde(deserialize_with = "lenient::text")]
    pub no_links: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub levels: Option<String>,
}

impl ServiceRoot {
    /// The collection in which sessions are created, when the root names it. It can do so without authentication.
    pub fn sessions_link(&self) -> Option<&str> {
        self.links.sessions.path()
    }

    /// The query that makes a collection carry its members; `None` when the BMC has none.
    pub fn expand_query(&self) -> Option<&'static str> {
        let expand = &self.protocol_features_supported.expand_query;
        let levels = expand.levels.as_deref() == Some("true");
        (expand.no_links.as_deref() == Some("true")).then_some(if levels {
            "$expand=.($levels=1)"
        } else {
            "$expand=."
        })
    }
}

/// Any collection: links to its members, or the members themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Collection {
    #[serde(deserialize_with = "lenient::list")]
    pub members: Vec<Map<String, Value>>,
    #[serde(rename = "Members@odata.nextLink", deserialize_with = "lenient::text")]
    pub next_link: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Collection {
    /// The paths of the members.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter_map(|member| member.get("@odata.id")?.as_str()).filter(|path| !path.is_empty())
    }

    /// The members that stand in the collection itself, with more than their link.
    pub fn inline<T: DeserializeOwned>(&self) -> Vec<T> {
        let whole = |member: &&Map<String, Value>| member.keys().any(|name| !name.starts_with("@odata."));
        self.members
            .iter()
            .filter(whole)
            .filter_map(|member| serde_json::from_value(Value::Object(member.clone())).ok())
            .collect()
    }

    /// The next page, when the collection comes in several.
    pub fn next(&self) -> Option<&str> {
        self.next_link.as_deref().filter(|path| !path.is_empty())
    }
}

/// `/redfish/v1/SessionService`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionService {
    #[serde(deserialize_with = "lenient::object")]
    pub sessions: Link,
    #[serde(deserialize_with = "lenient::text")]
    pub service_enabled: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_be_links_or_whole() {
        let collection: Collection = serde_json::from_str(
            r#"{"Members": [{"@odata.id": "/a"}, {"@odata.id": "/b", "Id": "b"}, 7, {"@odata.id": ""}],
                "Members@odata.nextLink": "/page2", "Members@odata.count": 9}"#,
        )
        .unwrap();
        assert_eq!(collection.links().collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(collection.inline::<Map<String, Value>>().len(), 1);
        assert_eq!(collection.next(), Some("/page2"));
    }

    #[test]
    fn a_root_without_sessions_has_no_session_link() {
        let root: ServiceRoot = serde_json::from_str(r#"{"Systems": {"@odata.id": "/s"}, "Links": null}"#).unwrap();
        assert_eq!((root.sessions_link(), root.systems.path()), (None, Some("/s")));
        assert_eq!(root.expand_query(), None);
    }

    #[test]
    fn the_expand_query_is_used_only_where_it_is_promised() {
        let root: ServiceRoot = serde_json::from_str(
            r#"{"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": true, "Levels": true}}}"#,
        )
        .unwrap();
        assert_eq!(root.expand_query(), Some("$expand=.($levels=1)"));
    }
}

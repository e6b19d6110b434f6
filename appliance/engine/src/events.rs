//! What a reader is told of an event: nothing, or a document, the same for streams, webhooks, mail and hooks.
//!
//! In: an event, the rules in force, who reads. Out: JSON without secrets. Whether it is told is asked of the owner and
//! lessee that the event carries: whoever they are later, and whoever they were before, are told nothing by it.

use jiff::Timestamp;
use leasehold_domain::event::{Concern, Event, What, takes};
use leasehold_domain::policy::{Credentials, Policy, Target};
use leasehold_store::{EventsBy, Recorded, Store};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The rule for what owner and lessee are told.
pub const EVENT: &str = "appliance:event:get";
/// The rule for how the owner's node is kept: the one for its history.
pub const HISTORY: &str = "baremetal:node:history:get";

/// A reader of events.
#[derive(Clone)]
pub struct Reader {
    pub policy: Arc<Policy>,
    pub credentials: Arc<Credentials>,
}

/// The owner and lessee of an event, as rules ask for them.
struct OfEvent<'a>(&'a Event);

impl Target for OfEvent<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "node.owner" => self.0.owner.as_deref().map(Cow::Borrowed),
            "node.lessee" => self.0.lessee.as_deref().map(Cow::Borrowed),
            "node.uuid" => self.0.node.map(|node| Cow::Owned(node.to_string())),
            _ => None,
        }
    }
}

impl Reader {
    /// A reader of this project, whoever it is: who stands for the project and not for a person.
    pub fn of_project(policy: Arc<Policy>, project: Option<&str>) -> Reader {
        let credentials = Credentials {
            project_id: project.map(str::to_owned),
            system: project.is_none(),
            roles: ["reader".to_owned()].into(),
            ..Credentials::default()
        };
        Reader { policy, credentials: Arc::new(credentials) }
    }

    fn may(&self, rule: &str, event: &Event) -> bool {
        self.policy.allows(rule, &self.credentials, &OfEvent(event))
    }

    /// Whether the reader is told of the event at all.
    pub fn is_told(&self, event: &Event) -> bool {
        match event.what.concern() {
            Concern::Both => self.may(EVENT, event),
            Concern::Owner => self.may(EVENT, event) && self.may(HISTORY, event),
        }
    }

    /// Where the reader's events are found: those of his project, or all where the rules let him see everybody's.
    pub fn by(&self) -> EventsBy {
        let all = self.policy.allows(EVENT, &self.credentials, &());
        let own = || self.credentials.project_id.iter().cloned().collect();
        EventsBy { whose: (!all).then(own), ..EventsBy::default() }
    }

    /// The event as it is told to this reader, if it is.
    pub fn document(&self, store: &Store, recorded: &Recorded) -> Option<Value> {
        let event = &recorded.event;
        if !self.is_told(event) {
            return None;
        }
        let mut data = members(&event.what);
        let hidden = event.what.for_owner_only();
        if !hidden.is_empty() && !self.may(HISTORY, event) {
            for name in hidden {
                data.remove(*name);
            }
        }
        data.insert("node".into(), json!(event.node));
        data.insert("owner".into(), json!(event.owner));
        data.insert("lessee".into(), json!(event.lessee));
        Some(json!({
            "id": store.cursor_text(recorded.cursor),
            "type": event.what.kind(),
            "timestamp": event.at,
            "data": data,
        }))
    }
}

/// What the event itself says.
fn members(what: &What) -> Map<String, Value> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(what) else { return Map::new() };
    members.remove("event");
    if let What::LeaseChanged { span, .. } = what {
        members.remove("span");
        members.insert("start".into(), shown(span.start));
        members.insert("end".into(), shown(span.end));
    }
    members
}

/// A moment; null for never.
fn shown(at: Timestamp) -> Value {
    if at == Timestamp::MIN || at == Timestamp::MAX { Value::Null } else { json!(at) }
}

/// Whether any of the filters takes events of this kind; none at all take every kind.
pub fn is_wanted(filters: &[String], kind: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| takes(filter, kind))
}

/// Whether an event may be one of these: what wakes a reader, who then looks.
pub fn may_be_of(by: &EventsBy, event: &Event) -> bool {
    let of = |projects: &Vec<String>| {
        [&event.owner, &event.lessee].into_iter().flatten().any(|project| projects.contains(project))
    };
    by.whose.as_ref().is_none_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_domain::id::{LeaseId, NodeId};
    use leasehold_domain::lease::{LeaseState, Span};
    use leasehold_domain::provision::ProvisionState;
    use uuid::Uuid;

    fn event(what: What) -> Event {
        let (owner, lessee) = (Some("own".to_owned()), Some("les".to_owned()));
        Event { at: Timestamp::UNIX_EPOCH, node: Some(NodeId(Uuid::nil())), owner, lessee, what }
    }

    fn reader(project: Option<&str>) -> Reader {
        Reader::of_project(Arc::new(Policy::default()), project)
    }

    fn provision() -> What {
        let error = Some("the BMC at 10.0.0.1 says no".to_owned());
        What::Provision { from: ProvisionState::Deploying, to: ProvisionState::DeployFailed, target: None, error }
    }

    #[test]
    fn each_is_told_of_what_was_his_and_a_stranger_of_nothing() {
        let lease = LeaseId(Uuid::nil());
        let state = LeaseState::Active;
        let leased = event(What::LeaseChanged { lease, from: None, state, span: Span::ALL, reason: None });
        let kept = event(What::BmcAsked { call: "inject-nmi".into() });
        for (project, of_lease, of_keeping) in
            [(Some("own"), true, true), (Some("les"), true, false), (Some("oth"), false, false), (None, true, true)]
        {
            let told = (reader(project).is_told(&leased), reader(project).is_told(&kept));
            assert_eq!(told, (of_lease, of_keeping), "{project:?}");
        }
        let nobodys = Event { node: None, owner: None, lessee: None, ..event(What::UserChanged { user: "x".into() }) };
        assert!(!reader(Some("own")).is_told(&nobodys) && reader(None).is_told(&nobodys));
    }

    #[test]
    fn what_is_wrong_inside_the_rack_is_told_to_the_owner_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path(), leasehold_store::Options::default()).expect("a store");
        let recorded = Recorded { cursor: store.newest_cursor(), event: Arc::new(event(provision())) };
        let told = |project| reader(Some(project)).document(&store, &recorded).expect("it is told").to_string();
        assert!(told("own").contains("10.0.0.1") && !told("les").contains("10.0.0.1"), "{}", told("les"));
        assert!(told("les").contains("deploy_failed") || told("les").contains("deploy failed"), "{}", told("les"));
    }

    #[test]
    fn readers_of_a_project_look_at_its_events_only() {
        assert_eq!(reader(Some("own")).by().whose, Some(vec!["own".to_owned()]));
        assert_eq!(reader(None).by().whose, None);
        assert!(may_be_of(&reader(Some("les")).by(), &event(What::NodeChanged)));
        assert!(!may_be_of(&reader(Some("oth")).by(), &event(What::NodeChanged)));
    }
}

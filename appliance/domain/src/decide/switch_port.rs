//! Switch ports: noted while they are not known to be idle, and never forgotten before.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::hardware::{HardwareKey, HardwareRow, Record, SwitchPort};
use crate::id::{NodeId, PortId};
use crate::node::Node;
use crate::port::Port;
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use crate::wire_steps::with_wire_error;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn hold_switch_port(
        &mut self,
        card: PortId,
        revision: u64,
        place: &SwitchPort,
    ) -> Result<Answer, Refusal> {
        let port = self.port(card)?.clone();
        if port.revision != revision || port.settings.node != place.node {
            return Err(Refusal::Conflict { what: "Port", name: card.to_string() });
        }
        match self.view.hardware.switch_ports.get(card) {
            Some(held) if held.body == *place => return Ok(Answer::Done),
            Some(_) => self.must_be_unplugged(&port)?,
            None => {}
        }
        if let Some(other) = place.holder(self.view) {
            let address = self.view.port(other.id).map(|port| port.settings.address.to_string()).unwrap_or_default();
            return Err(Refusal::InUse(format!(
                "{place} is in use for port {address}, and is not known to be idle: correct the local_link_connection \
                 of one of them"
            )));
        }
        let created_at = self.context.now;
        let record = Record { id: card, revision: 0, body: place.clone(), created_at, updated_at: None };
        self.changes.push(Change::Hardware(Rows::Put(HardwareRow::SwitchPort(Arc::new(record)))));
        Ok(Answer::Done)
    }

    pub(super) fn free_switch_port(&mut self, card: PortId, place: &SwitchPort) -> Result<Answer, Refusal> {
        if self.view.hardware.switch_ports.get(card).is_some_and(|held| held.body == *place) {
            self.changes.push(Change::Hardware(Rows::Delete(HardwareKey::SwitchPort(card))));
        }
        Ok(Answer::Done)
    }

    /// The card may go, or be plugged in elsewhere: its switch port is idle, or was never set.
    pub(super) fn must_be_unplugged(&self, card: &Port) -> Result<(), Refusal> {
        match self.view.hardware.switch_ports.get(card.id) {
            None => Ok(()),
            Some(held) => Err(Refusal::Plugged(format!(
                "The cable of port {} goes to {}, which is not known to be idle.",
                card.settings.address, held.body
            ))),
        }
    }

    pub(super) fn note_wire(&mut self, id: NodeId, error: Option<&str>) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        // What goes wrong for a job, the job tells.
        if node.job.is_some() {
            return Ok(Answer::Done);
        }
        let last_error = with_wire_error(&node, error);
        if node.last_error == last_error {
            return Ok(Answer::Done);
        }
        let changed = Node { last_error, ..(*node).clone() };
        self.tell(&changed, What::NodeChanged);
        Ok(Answer::Node(self.put_node(changed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Actor, Command, Context, NodeStart};
    use crate::decide::decide;
    use crate::hardware::HardwareCommand;
    use crate::mac::Mac;
    use crate::node::NodeSettings;
    use crate::port::PortSettings;
    use crate::view::View;
    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    const NODE: NodeId = NodeId(Uuid::from_u128(1));
    const OTHER: NodeId = NodeId(Uuid::from_u128(2));
    const CARD: PortId = PortId(Uuid::from_u128(1));

    fn give(view: &mut View, command: &Command) -> Result<(), Refusal> {
        let context = Context { actor: Actor::System("test"), now: Timestamp::UNIX_EPOCH };
        decide(view, command, &context)?.changes.iter().for_each(|change| view.apply(change));
        Ok(())
    }

    fn place(port: &str) -> SwitchPort {
        SwitchPort { node: NODE, switch: "tor1".into(), port: port.into() }
    }

    fn hold(card: PortId, revision: u64, place: SwitchPort) -> Command {
        Command::Hardware(HardwareCommand::HoldSwitchPort { card, revision, place })
    }

    /// Two nodes of nobody's with a card each, in maintenance.
    fn world() -> View {
        let mut view = View::default();
        for (number, id) in [(1, NODE), (2, OTHER)] {
            let settings = Box::new(NodeSettings { driver: "ipmi".into(), ..NodeSettings::default() });
            let start = NodeStart { available: true, maintenance: true };
            give(&mut view, &Command::CreateNode { id, settings, start }).expect("new");
            let mut card = PortSettings::new(id, Mac([2, 0, 0, 0, 0, number]));
            card.local_link_connection = json!({"port_id": "n1"}).as_object().cloned().expect("a map");
            let id = PortId(Uuid::from_u128(number.into()));
            give(&mut view, &Command::CreatePort { id, settings: Box::new(card) }).expect("new");
        }
        view
    }

    #[test]
    fn a_cable_is_not_forgotten_while_its_switch_port_is_not_known_to_be_idle() {
        let mut view = world();
        let settings = view.port(CARD).expect("a port").settings.clone();
        let change = |edit: fn(&mut PortSettings)| {
            let mut settings = Box::new(settings.clone());
            edit(&mut settings);
            Command::ChangePort { id: CARD, revision: 0, settings }
        };
        let forgetting = [
            change(|card| card.local_link_connection.clear()),
            change(|card| card.node = OTHER),
            Command::DeletePort { id: CARD },
            Command::DeleteNode { id: NODE },
        ];
        give(&mut view, &hold(CARD, 0, place("n1"))).expect("noted");
        for command in &forgetting {
            let refused = give(&mut view.clone(), command);
            assert!(matches!(refused, Err(Refusal::Plugged(_))), "{command:?}: {refused:?}");
        }
        give(&mut view.clone(), &change(|card| card.pxe_enabled = false)).expect("it says nothing of the cable");
        let free = |port: &str| Command::Hardware(HardwareCommand::FreeSwitchPort { card: CARD, place: place(port) });
        give(&mut view, &free("n2")).expect("another's");
        assert!(give(&mut view.clone(), &forgetting[0]).is_err());
        give(&mut view, &free("n1")).expect("idle");
        for command in &forgetting {
            give(&mut view.clone(), command).expect("legal");
        }
    }

    #[test]
    fn a_switch_port_is_one_cards_and_a_card_has_one() {
        let mut view = world();
        give(&mut view, &hold(CARD, 0, place("n1"))).expect("noted");
        give(&mut view, &hold(CARD, 0, place("n1"))).expect("again");
        assert!(matches!(give(&mut view, &hold(CARD, 0, place("n2"))), Err(Refusal::Plugged(_))));
        assert!(matches!(give(&mut view, &hold(CARD, 1, place("n1"))), Err(Refusal::Conflict { .. })), "an older note");
        let theirs = SwitchPort { node: OTHER, ..place("n1") };
        let other = PortId(Uuid::from_u128(2));
        let refused = give(&mut view, &hold(other, 0, theirs.clone()));
        assert!(matches!(refused, Err(Refusal::InUse(why)) if why.contains("in use for port 02:00:00:00:00:01")));
        assert!(
            matches!(give(&mut view, &hold(CARD, 0, theirs)), Err(Refusal::Conflict { .. })),
            "not that node's card"
        );
    }

    #[test]
    fn what_is_wrong_with_switch_ports_stands_behind_what_else_is() {
        let mut view = world();
        let note = |view: &mut View, error: Option<&str>| {
            let error = error.map(str::to_owned);
            give(view, &Command::Hardware(HardwareCommand::NoteWire { node: NODE, error })).expect("noted");
            view.node(NODE).expect("a node").last_error.clone()
        };
        assert_eq!(note(&mut view, Some("dead")).as_deref(), Some("Switch ports: dead"));
        assert_eq!(note(&mut view, None), None);
        let failed = Node { last_error: Some("It failed.".into()), ..(**view.node(NODE).expect("a node")).clone() };
        view.apply(&Change::PutNode(Arc::new(failed)));
        assert_eq!(note(&mut view, Some("dead")).as_deref(), Some("It failed. Switch ports: dead"));
        assert_eq!(note(&mut view, Some("slow")).as_deref(), Some("It failed. Switch ports: slow"));
        assert_eq!(note(&mut view, None).as_deref(), Some("It failed."));
    }
}

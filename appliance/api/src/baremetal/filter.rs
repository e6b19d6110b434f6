//! What a list of nodes is asked for: the filters of each version, and the indices that find what can be meant.

use super::asked::{Asked, uuid};
use super::query::{self, Parameters, flag_of};
use super::version::not_acceptable;
use crate::Api;
use crate::error::ApiError;
use leasehold_domain::View;
use leasehold_domain::facet::{Facet, Flag};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{CLEAN_FAILURE, Node, POWER_FAILURE};
use leasehold_domain::provision::ProvisionState;
use uuid::Uuid;

/// Each parameter of the list, and since which version it is taken.
const PARAMETERS: [(&str, u16); 26] = [
    ("fields", 8),
    ("detail", 1),
    ("limit", 1),
    ("marker", 1),
    ("sort_key", 1),
    ("sort_dir", 1),
    ("associated", 1),
    ("chassis_uuid", 1),
    ("conductor", 49),
    ("conductor_group", 46),
    ("description_contains", 1),
    ("driver", 16),
    ("fault", 42),
    ("include_children", 83),
    ("instance_name", 104),
    ("instance_uuid", 1),
    ("lessee", 65),
    ("maintenance", 1),
    ("owner", 50),
    ("parent_node", 83),
    ("project", 1),
    ("provision_state", 9),
    ("resource_class", 21),
    ("retired", 1),
    ("shard", 82),
    ("sharded", 82),
];

/// Which parts of nodes are listed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Parts {
    /// None: only what is no part.
    #[default]
    Left,
    Of(NodeId),
    All,
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) associated: Option<bool>,
    pub(super) maintenance: Option<bool>,
    pub(super) retired: Option<bool>,
    pub(super) sharded: Option<bool>,
    pub(super) shards: Option<Vec<String>>,
    pub(super) state: Option<ProvisionState>,
    pub(super) instance: Option<Uuid>,
    pub(super) parts: Parts,
    pub(super) chassis: Option<String>,
    pub(super) class: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) lessee: Option<String>,
    /// Owner or lessee: the caller's own project where he may not list others'.
    pub(super) project: Option<String>,
    pub(super) driver: Option<String>,
    pub(super) fault: Option<String>,
    pub(super) group: Option<String>,
    pub(super) conductor: Option<String>,
    pub(super) instance_name: Option<String>,
    pub(super) contains: Option<String>,
}

impl Filter {
    pub(super) fn read(api: &Api, asked: &Asked, view: &View, parameters: &Parameters) -> Result<Filter, ApiError> {
        let project = listed_project(asked, parameters.get("project"))?;
        for name in parameters.keys() {
            match PARAMETERS.iter().find(|(known, _)| known == name) {
                Some((_, since)) if *since > asked.version.0 => {
                    return Err(not_acceptable(asked.version, *since, name));
                }
                Some(_) => {}
                None => return Err(ApiError::bad_request(format!("Unknown argument: \"{name}\"."))),
            }
        }
        let text = |name: &str| parameters.get(name).cloned();
        let state = match text("provision_state") {
            Some(name) => Some(
                ProvisionState::from_name(&name)
                    .ok_or_else(|| ApiError::bad_request(format!("Provision state \"{name}\" is not valid")))?,
            ),
            None => None,
        };
        let fault = text("fault");
        const FAULTS: [&str; 4] = [POWER_FAILURE, CLEAN_FAILURE, "rescue abort failure", "service failure"];
        if let Some(unknown) = fault.as_ref().filter(|fault| !FAULTS.contains(&fault.as_str())) {
            return Err(ApiError::bad_request(format!(
                "Unrecognized fault \"{unknown}\" is specified, allowed faults are {}.",
                FAULTS.join(", ")
            )));
        }
        let parts = match (flag_of(parameters, "include_children")?, text("parent_node")) {
            (Some(true), _) => Parts::All,
            // A parent that is not there for the caller has no parts.
            (_, Some(ident)) => Parts::Of(asked.seen(view, &ident).map_or(NodeId(Uuid::nil()), |node| node.id)),
            _ => Parts::Left,
        };
        let conductor = text("conductor");
        Ok(Filter {
            associated: flag_of(parameters, "associated")?,
            maintenance: flag_of(parameters, "maintenance")?,
            retired: flag_of(parameters, "retired")?,
            sharded: flag_of(parameters, "sharded")?,
            shards: query::list_of(parameters, "shard"),
            state,
            instance: text("instance_uuid").map(|text| uuid(&text)).transpose()?,
            parts,
            chassis: text("chassis_uuid").map(|text| uuid(&text).map(|uuid| uuid.to_string())).transpose()?,
            class: text("resource_class"),
            owner: text("owner"),
            lessee: text("lessee"),
            project,
            driver: text("driver"),
            fault,
            group: text("conductor_group").map(|group| group.to_lowercase()),
            // There is one conductor: this box. Another has no nodes.
            conductor: conductor.filter(|name| **name != *api.hostname),
            instance_name: text("instance_name"),
            contains: text("description_contains").map(|text| text.to_lowercase()),
        })
    }

    pub(super) fn takes(&self, node: &Node) -> bool {
        let settings = &node.settings;
        let same = |wanted: &Option<String>, given: Option<&str>| wanted.is_none() || wanted.as_deref() == given;
        let label = |name: &str| settings.label(name);
        self.associated.is_none_or(|wanted| settings.instance_uuid.is_some() == wanted)
            && self.maintenance.is_none_or(|wanted| node.maintenance == wanted)
            && self.retired.is_none_or(|wanted| settings.retired == wanted)
            && self.sharded.is_none_or(|wanted| label("shard").is_some() == wanted)
            && self
                .shards
                .as_ref()
                .is_none_or(|shards| label("shard").is_some_and(|shard| shards.iter().any(|wanted| wanted == shard)))
            && self.state.is_none_or(|wanted| node.provision_state == wanted)
            && self.instance.is_none_or(|wanted| settings.instance_uuid == Some(wanted))
            && match self.parts {
                Parts::Left => settings.parent().is_none(),
                Parts::Of(parent) => settings.parent() == Some(parent),
                Parts::All => true,
            }
            && same(&self.chassis, label("chassis_uuid"))
            && same(&self.class, settings.resource_class.as_deref())
            && same(&self.owner, settings.owner.as_deref())
            && same(&self.lessee, settings.lessee.as_deref())
            && self.project.as_ref().is_none_or(|wanted| {
                settings.owner.as_ref() == Some(wanted) || settings.lessee.as_ref() == Some(wanted)
            })
            && self.driver.as_ref().is_none_or(|wanted| settings.driver == *wanted)
            && same(&self.fault, node.fault.as_deref())
            && self.group.as_ref().is_none_or(|wanted| label("conductor_group").unwrap_or_default() == wanted)
            && same(&self.instance_name, label("instance_name"))
            && self.contains.as_ref().is_none_or(|wanted| {
                settings.description.as_ref().is_some_and(|text| text.to_lowercase().contains(wanted))
            })
    }

    /// What an index knows of: each holds every node that is meant, and others.
    fn facets(&self) -> impl Iterator<Item = Facet> {
        let flags = [
            (Flag::Associated, self.associated),
            (Flag::Maintenance, self.maintenance),
            (Flag::Retired, self.retired),
            (Flag::Sharded, self.sharded),
        ];
        let flags = flags.into_iter().filter_map(|(flag, wanted)| Some(Facet::Flag(flag, wanted?)));
        let part = match self.parts {
            Parts::Left => Some(Facet::Flag(Flag::Part, false)),
            Parts::Of(parent) => Some(Facet::Parent(parent)),
            Parts::All => None,
        };
        let shard = match self.shards.as_deref() {
            Some([shard]) => Some(Facet::Shard(shard.clone())),
            _ => None,
        };
        let others = [
            part,
            shard,
            self.state.map(Facet::State),
            self.project.clone().map(Facet::Project),
            self.owner.clone().map(Facet::Project),
            self.lessee.clone().map(Facet::Project),
            self.chassis.clone().map(Facet::Chassis),
            self.class.clone().map(Facet::Class),
            self.driver.clone().map(Facet::Driver),
            self.fault.clone().map(Facet::Fault),
            self.group.clone().map(Facet::Group),
            self.instance_name.clone().map(Facet::InstanceName),
        ];
        others.into_iter().flatten().chain(flags)
    }

    /// Where to look for the nodes that are meant: the narrowest of the indices that hold them all.
    pub(super) fn source(&self, view: &View) -> Source {
        if self.conductor.is_some() {
            return Source::Nowhere;
        }
        if let Some(instance) = self.instance {
            return Source::Instance(instance);
        }
        let narrowest = self.facets().map(|facet| (view.count_of(&facet), facet)).min_by_key(|(count, _)| *count);
        match narrowest {
            Some((count, facet)) if count < view.node_count() => Source::Facet(facet, count),
            _ => Source::All,
        }
    }
}

/// Where every node is that can be meant.
#[derive(Debug)]
pub(super) enum Source {
    Nowhere,
    Instance(Uuid),
    /// Among so many nodes that have this in common.
    Facet(Facet, usize),
    All,
}

/// Whose nodes the caller may list: everybody's (then of the project that he asks for), or his own project's.
pub(super) fn listed_project(asked: &Asked, wanted: Option<&String>) -> Result<Option<String>, ApiError> {
    if asked.caller.allows("baremetal:node:list_all", &()) {
        return Ok(wanted.cloned());
    }
    match asked.caller.credentials.project_id.as_ref() {
        Some(own) if wanted.is_none_or(|wanted| wanted == own) => {
            asked.caller.needs("baremetal:node:list", &())?;
            Ok(Some(own.clone()))
        }
        _ => Err(crate::access::forbidden("baremetal:node:list_all")),
    }
}

//! What holds of roles, tokens and application credentials, whatever happens.

use super::*;
use crate::command::{Actor, Command, Context};
use crate::decide::decide;
use crate::id::{CredentialId, GroupId, ProjectId, RoleId, UserId};
use crate::refusal::Refusal;
use crate::view::View;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

fn role(number: u8) -> RoleId {
    RoleId(Uuid::from_u128(0x100 + u128::from(number)))
}

fn user(number: u8) -> UserId {
    UserId(Uuid::from_u128(0x200 + u128::from(number)))
}

fn group(number: u8) -> GroupId {
    GroupId(Uuid::from_u128(0x300 + u128::from(number)))
}

fn project(number: u8) -> ProjectId {
    ProjectId(Uuid::from_u128(0x400 + u128::from(number)))
}

fn credential(number: u8) -> CredentialId {
    CredentialId(Uuid::from_u128(0x500 + u128::from(number)))
}

struct World {
    view: View,
    now: Timestamp,
    tokens: u8,
}

impl World {
    /// The default domain with projects 0 > 1 > 2 and 3, four users, two groups, four roles beside the built-in ones.
    fn new() -> World {
        let mut world = World { view: View::default(), now: Timestamp::UNIX_EPOCH, tokens: 0 };
        let roles = (0..9).map(|number| Uuid::from_u128(0x600 + number)).collect();
        let first = User::new(UserId(Uuid::from_u128(7)), "admin", "$hash".into(), world.now);
        let wanted = Bootstrap { project: ProjectId(Uuid::from_u128(8)), roles, administrator: Some(first) };
        world.must(IdentityCommand::Bootstrap(Box::new(wanted)));
        for (number, parent) in [(0, DEFAULT_DOMAIN), (1, project(0)), (2, project(1)), (3, DEFAULT_DOMAIN)] {
            world.must(IdentityCommand::CreateProject(Box::new(Project {
                id: project(number),
                name: format!("p{number}"),
                description: String::new(),
                domain: DEFAULT_DOMAIN,
                parent: Some(parent),
                enabled: true,
                tags: Vec::new(),
                created_at: world.now,
            })));
        }
        for number in 0..4 {
            let name = format!("u{number}");
            let row = User::new(user(number), &name, "$hash".into(), world.now);
            world.must(IdentityCommand::CreateUser(Box::new(row)));
            let row =
                Role { id: role(number), name: format!("r{number}"), description: String::new(), built_in: false };
            world.must(IdentityCommand::CreateRole(Box::new(row)));
        }
        for number in 0..2 {
            let (name, domain) = (format!("g{number}"), DEFAULT_DOMAIN);
            let row = Group { id: group(number), domain, name, description: String::new() };
            world.must(IdentityCommand::CreateGroup(Box::new(row)));
        }
        world
    }

    fn directory(&self) -> &Directory {
        &self.view.identity
    }

    fn give(&mut self, command: IdentityCommand) -> Result<(), Refusal> {
        let context = Context { actor: Actor::System("test"), now: self.now };
        let decision = decide(&self.view, &Command::Identity(command), &context)?;
        for change in &decision.changes {
            self.view.apply(change);
        }
        Ok(())
    }

    fn must(&mut self, command: IdentityCommand) {
        let name = command.name();
        self.give(command).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    }

    fn token(&mut self, whose: u8, scope: Scope, of: Option<CredentialId>, parent: Option<Digest>) -> Option<Digest> {
        self.tokens += 1;
        let directory = self.directory();
        let holder = directory.user(user(whose))?.clone();
        let roles = match of {
            Some(id) => directory.grounds_of(directory.credential(id)?, self.now)?,
            None => directory.grounds(&holder, scope)?,
        };
        let digest = [self.tokens; 32];
        let token = Token {
            digest,
            user: holder.id,
            scope,
            roles,
            issued_at: self.now,
            expires_at: self.now.checked_add(SignedDuration::from_secs(100)).expect("in range"),
            methods: vec!["password".into()],
            credential: of,
            parent,
            audit_id: String::new(),
            session: false,
        };
        self.give(IdentityCommand::IssueToken { token: Box::new(token), user: holder }).ok()?;
        Some(digest)
    }
}

/// Roles by the definition, without any index.
fn naive(directory: &Directory, whose: UserId, scope: Scope) -> BTreeSet<RoleId> {
    let is_his = |party: Party| match party {
        Party::User(id) => id == whose,
        Party::Group(group) => directory.is_member(Membership { user: whose, group }),
    };
    let above = |id: ProjectId| {
        let mut above = Vec::new();
        let mut next = directory.project(id).and_then(|project| project.parent);
        while let Some(id) = next {
            above.push(id);
            next = directory.project(id).and_then(|project| project.parent);
        }
        above
    };
    let reaches = |held: &Assignment| match (held.place, scope) {
        (Place::System, Scope::System) => true,
        (Place::Project(at), Scope::Project(id) | Scope::Domain(id)) if !held.inherited => at == id,
        (Place::Project(at), Scope::Project(id)) => above(id).contains(&at),
        _ => false,
    };
    let mut roles: BTreeSet<RoleId> =
        directory.assignments().filter(|held| is_his(held.party) && reaches(held)).map(|held| held.role).collect();
    loop {
        let more: Vec<RoleId> = directory
            .implications()
            .filter(|pair| roles.contains(&pair.prior) && !roles.contains(&pair.implied))
            .map(|pair| pair.implied)
            .collect();
        if more.is_empty() {
            return roles;
        }
        roles.extend(more);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Assign { group: bool, who: u8, place: u8, inherited: bool, role: u8 },
    EndAssignment(u8),
    Join(u8, u8),
    Leave(u8, u8),
    Imply(u8, u8),
    EndImplication(u8, u8),
    EnableUser(u8, bool),
    EnableProject(u8, bool),
    Password(u8),
    DeleteUser(u8),
    DeleteGroup(u8),
    DeleteRole(u8),
    DeleteProject(u8),
    Token(u8, u8),
    Child(u8, u8),
    Revoke(u8),
    Credential(u8, u8, u8),
    DeleteCredential(u8),
    CredentialToken(u8),
    Pass(u8),
    Sweep,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 0u8..4, 0u8..6, any::<bool>(), 0u8..4)
            .prop_map(|(group, who, place, inherited, role)| Step::Assign { group, who, place, inherited, role }),
        2 => any::<u8>().prop_map(Step::EndAssignment),
        2 => (0u8..4, 0u8..2).prop_map(|(user, group)| Step::Join(user, group)),
        1 => (0u8..4, 0u8..2).prop_map(|(user, group)| Step::Leave(user, group)),
        2 => (0u8..4, 0u8..4).prop_map(|(prior, implied)| Step::Imply(prior, implied)),
        1 => (0u8..4, 0u8..4).prop_map(|(prior, implied)| Step::EndImplication(prior, implied)),
        1 => (0u8..4, any::<bool>()).prop_map(|(user, on)| Step::EnableUser(user, on)),
        1 => (0u8..4, any::<bool>()).prop_map(|(project, on)| Step::EnableProject(project, on)),
        1 => (0u8..4).prop_map(Step::Password),
        1 => (0u8..4).prop_map(Step::DeleteUser),
        1 => (0u8..2).prop_map(Step::DeleteGroup),
        1 => (0u8..4).prop_map(Step::DeleteRole),
        1 => (0u8..4).prop_map(Step::DeleteProject),
        6 => (0u8..4, 0u8..7).prop_map(|(user, scope)| Step::Token(user, scope)),
        2 => (any::<u8>(), 0u8..7).prop_map(|(parent, scope)| Step::Child(parent, scope)),
        1 => any::<u8>().prop_map(Step::Revoke),
        3 => (0u8..4, 0u8..4, 0u8..4).prop_map(|(user, project, role)| Step::Credential(user, project, role)),
        1 => any::<u8>().prop_map(Step::DeleteCredential),
        3 => any::<u8>().prop_map(Step::CredentialToken),
        1 => (1u8..60).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

fn place(number: u8) -> Place {
    match number {
        0..=3 => Place::Project(project(number)),
        4 => Place::Project(DEFAULT_DOMAIN),
        _ => Place::System,
    }
}

fn scope(number: u8) -> Scope {
    match number {
        0..=3 => Scope::Project(project(number)),
        4 => Scope::Domain(DEFAULT_DOMAIN),
        5 => Scope::System,
        _ => Scope::Unscoped,
    }
}

/// The thing of this number among those there are.
fn pick<T>(things: Vec<T>, number: u8) -> Option<T> {
    let count = things.len().max(1);
    things.into_iter().nth(usize::from(number) % count)
}

fn walk(world: &mut World, step: &Step, number: u8) {
    use IdentityCommand as C;
    let directory = world.directory().clone();
    let command = match step.clone() {
        Step::Assign { group: true, who, place: at, inherited, role: which } => {
            let party = Party::Group(group(who % 2));
            C::Assign(Assignment { party, place: place(at), inherited, role: role(which) })
        }
        Step::Assign { who, place: at, inherited, role: which, .. } => {
            C::Assign(Assignment { party: Party::User(user(who)), place: place(at), inherited, role: role(which) })
        }
        Step::EndAssignment(which) => match pick(directory.assignments().copied().collect(), which) {
            Some(row) => C::EndAssignment(row),
            None => return,
        },
        Step::Join(who, which) => C::AddMember(Membership { user: user(who), group: group(which) }),
        Step::Leave(who, which) => C::RemoveMember(Membership { user: user(who), group: group(which) }),
        Step::Imply(prior, implied) => C::Imply(Implication { prior: role(prior), implied: role(implied) }),
        Step::EndImplication(prior, implied) => {
            C::EndImplication(Implication { prior: role(prior), implied: role(implied) })
        }
        Step::EnableUser(who, enabled) => match directory.user(user(who)) {
            Some(row) => C::ChangeUser { before: row.clone(), after: Box::new(User { enabled, ..(**row).clone() }) },
            None => return,
        },
        Step::EnableProject(which, enabled) => match directory.project(project(which)) {
            Some(row) => {
                C::ChangeProject { before: row.clone(), after: Box::new(Project { enabled, ..(**row).clone() }) }
            }
            None => return,
        },
        Step::Password(who) => {
            C::SetPassword { user: user(who), password_hash: format!("$hash{number}"), one_time: false }
        }
        Step::DeleteUser(who) => C::DeleteUser { id: user(who) },
        Step::DeleteGroup(which) => C::DeleteGroup { id: group(which) },
        Step::DeleteRole(which) => C::DeleteRole { id: role(which) },
        Step::DeleteProject(which) => C::DeleteProject { id: project(which) },
        Step::Token(who, of) => {
            world.token(who, scope(of), None, None);
            return;
        }
        Step::Child(parent, of) => {
            let parent = pick(directory.tokens().cloned().collect(), parent);
            let whose = parent.as_ref().and_then(|parent| (0..4).find(|number| user(*number) == parent.user));
            if let (Some(parent), Some(whose)) = (parent, whose) {
                world.token(whose, scope(of), None, Some(parent.digest));
            }
            return;
        }
        Step::Revoke(which) => match pick(directory.tokens().cloned().collect(), which) {
            Some(token) => C::RevokeToken { digest: token.digest },
            None => return,
        },
        Step::Credential(who, at, which) => C::CreateCredential(Box::new(ApplicationCredential {
            id: credential(number),
            user: user(who),
            project: project(at),
            name: format!("c{number}"),
            description: None,
            secret: SecretHash::Random([number; 32]),
            roles: BTreeSet::from([role(which)]),
            created_at: world.now,
            expires_at: None,
            unrestricted: false,
        })),
        Step::DeleteCredential(which) => match pick(credentials(&directory), which) {
            Some(row) => C::DeleteCredential { id: row.id },
            None => return,
        },
        Step::CredentialToken(which) => {
            let Some(row) = pick(credentials(&directory), which) else { return };
            if let Some(whose) = (0..4).find(|number| user(*number) == row.user) {
                world.token(whose, Scope::Project(row.project), Some(row.id), None);
            }
            return;
        }
        Step::Pass(seconds) => {
            world.now = world.now.checked_add(SignedDuration::from_secs(seconds.into())).expect("in range");
            return;
        }
        Step::Sweep => C::Sweep,
    };
    // A refusal is fine: it changes nothing.
    let before = world.directory().generation();
    if world.give(command).is_err() {
        assert_eq!(world.directory().generation(), before);
    }
}

fn credentials(directory: &Directory) -> Vec<Arc<ApplicationCredential>> {
    directory.users().flat_map(|user| directory.credentials_of(user.id)).cloned().collect()
}

fn open(directory: &Directory, scope: Scope) -> bool {
    match scope {
        Scope::Unscoped | Scope::System => true,
        Scope::Project(id) | Scope::Domain(id) => {
            let mut next = Some(id);
            while let Some(id) = next {
                let Some(project) = directory.project(id).filter(|project| project.enabled) else { return false };
                next = project.parent;
            }
            true
        }
    }
}

fn check(world: &World) {
    let directory = world.directory();
    for number in 0..4 {
        for of in 0..7 {
            let (whose, scope) = (user(number), scope(of));
            assert_eq!(directory.roles(whose, scope), naive(directory, whose, scope));
        }
    }
    for token in directory.tokens() {
        if token.expires_at <= world.now {
            continue;
        }
        let holder = directory.user(token.user).expect("a token has a user");
        assert!(holder.enabled && open(directory, token.scope), "{token:?}");
        assert!(token.issued_at >= holder.password_changed_at, "a new password ends tokens");
        assert!(token.roles.is_subset(&naive(directory, token.user, token.scope)), "{token:?}");
        assert!(token.parent.is_none_or(|parent| directory.token(&parent).is_some()), "a child ends with its parent");
        if let Some(id) = token.credential {
            let of = directory.credential(id).expect("a token ends with its credential");
            assert!(token.roles.is_subset(&directory.with_implied(of.roles.iter().copied())));
        }
    }
    for row in credentials(directory) {
        assert!(directory.user(row.user).is_some() && directory.project(row.project).is_some());
        let has = directory.grounds_of(&row, world.now).unwrap_or_default();
        assert!(has.is_subset(&naive(directory, row.user, Scope::Project(row.project))), "wider than its user");
        assert!(has.is_subset(&directory.with_implied(row.roles.iter().copied())), "wider than it was made");
    }
    for held in directory.assignments() {
        assert!(directory.role(held.role).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_token_outlives_its_grounds(steps in proptest::collection::vec(any_step(), 1..80)) {
        let mut world = World::new();
        for (step, number) in steps.iter().zip(0u8..) {
            walk(&mut world, step, number);
            check(&world);
        }
    }
}

#[test]
fn a_role_that_is_lost_and_given_back_brings_no_token_back() {
    let mut world = World::new();
    let row = Assignment { party: Party::User(user(0)), place: place(0), inherited: true, role: role(0) };
    world.must(IdentityCommand::Assign(row));
    let digest = world.token(0, scope(2), None, None).expect("inherited from above");
    world.must(IdentityCommand::EndAssignment(row));
    assert!(world.directory().token(&digest).is_none());
    world.must(IdentityCommand::Assign(row));
    assert!(world.directory().token(&digest).is_none());
}

#[test]
fn a_second_bootstrap_changes_nothing_and_the_last_administrator_stays() {
    let mut world = World::new();
    let generation = world.directory().generation();
    let roles = (0..9).map(|number| Uuid::from_u128(0x700 + number)).collect();
    let again = Bootstrap { project: ProjectId(Uuid::from_u128(9)), roles, administrator: None };
    world.must(IdentityCommand::Bootstrap(Box::new(again)));
    assert_eq!(world.directory().generation(), generation);
    let admin = world.directory().user_of_default_domain("admin").expect("there").clone();
    let names = |scope: Scope| world.directory().credentials(&admin, scope).expect("an administrator").roles;
    assert!(["admin", "manager", "member", "reader"].iter().all(|name| names(Scope::System).contains(*name)));
    assert_eq!(world.directory().usual_scope(&admin), Scope::System);
    let last = world.directory().assignments().find(|held| held.place == Place::System).copied().expect("one");
    assert!(matches!(world.give(IdentityCommand::EndAssignment(last)), Err(Refusal::Forbidden(_))));
}

#[test]
fn a_box_of_before_roles_gets_them() {
    let mut view = View::default();
    let old = User::new(user(9), "admin", "$hash".into(), Timestamp::UNIX_EPOCH);
    view.apply(&crate::Change::Identity(crate::rows::Rows::Put(IdentityRow::User(Arc::new(old.clone())))));
    let mut world = World { view, now: Timestamp::UNIX_EPOCH, tokens: 0 };
    let roles = (0..9).map(|number| Uuid::from_u128(0x700 + number)).collect();
    let wanted = Bootstrap { project: project(0), roles, administrator: None };
    world.must(IdentityCommand::Bootstrap(Box::new(wanted)));
    assert!(world.directory().credentials(&old, Scope::System).expect("an administrator").roles.contains("admin"));
}

#[test]
fn a_project_with_nodes_is_not_deleted() {
    use crate::id::NodeId;
    use crate::node::{Node, NodeSettings};
    let mut world = World::new();
    let settings = NodeSettings {
        name: Some("n1".into()),
        driver: "ipmi".into(),
        owner: Some(id_text(project(3).0)),
        ..NodeSettings::default()
    };
    let node = Node::enrolled(NodeId(Uuid::from_u128(1)), settings, world.now);
    world.view.apply(&crate::Change::PutNode(Arc::new(node)));
    let refused = world.give(IdentityCommand::DeleteProject { id: project(3) }).expect_err("it has a node");
    assert!(refused.to_string().contains("1 nodes (n1)"), "{refused}");
    assert!(world.give(IdentityCommand::DeleteProject { id: project(0) }).is_err(), "it has projects below");
    world.must(IdentityCommand::DeleteProject { id: project(2) });
}

#[test]
fn names_that_differ_in_case_are_the_same() {
    let mut world = World::new();
    let mut row = User::new(user(20), "U1", "$hash".into(), world.now);
    assert!(matches!(world.give(IdentityCommand::CreateUser(Box::new(row.clone()))), Err(Refusal::Exists { .. })));
    row.name = "u1\u{430}".into();
    assert!(matches!(world.give(IdentityCommand::CreateUser(Box::new(row))), Err(Refusal::Invalid(_))));
}

//! Calendars under secret URLs: one for each user and project, as long as he has a role there.

use super::super::Room;
use super::missing;
use crate::command::Answer;
use crate::id::{ProjectId, UserId};
use crate::identity::{Directory, Feed, IdentityKey, IdentityRow, Scope};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn make_feed(&mut self, row: &Feed) -> Result<Answer, Refusal> {
        let directory = self.directory();
        let user = directory.user(row.user).ok_or_else(|| missing("User", row.user.0))?;
        if directory.grounds(user, Scope::Project(row.project)).is_none() {
            return Err(Refusal::Forbidden("A calendar is of a project in which its user has a role.".into()));
        }
        let former = directory.feed_of(row.user, row.project).map(|feed| feed.digest);
        if let Some(former) = former {
            self.delete(IdentityKey::Feed(former));
        }
        Ok(self.put(IdentityRow::Feed(Arc::new(row.clone()))))
    }

    pub(super) fn end_feed(&mut self, user: UserId, project: ProjectId) -> Result<Answer, Refusal> {
        let feed = self.directory().feed_of(user, project).map(|feed| feed.digest);
        let feed = feed.ok_or_else(|| missing("Calendar feed of project", project.0))?;
        self.delete(IdentityKey::Feed(feed));
        Ok(Answer::Done)
    }

    /// Ends those whose users have no role any more where they are of; `users`: of these, or of everybody.
    pub(super) fn end_groundless_feeds(&mut self, after: &Directory, users: Option<&[UserId]>) {
        let stands = |feed: &Feed| {
            let user = after.user(feed.user);
            user.is_some_and(|user| after.grounds(user, Scope::Project(feed.project)).is_some())
        };
        let feeds: Vec<&Arc<Feed>> = match users {
            Some(users) => users.iter().flat_map(|user| after.feeds_of(*user)).collect(),
            None => after.feeds().collect(),
        };
        for feed in feeds.into_iter().filter(|feed| !stands(feed)) {
            self.delete(IdentityKey::Feed(feed.digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Actor, Command, Context};
    use crate::decide::decide;
    use crate::id::RoleId;
    use crate::identity::{Assignment, DEFAULT_DOMAIN, IdentityCommand, Party, Place, Project, Role, User};
    use crate::rows::Rows;
    use crate::view::{Change, View};
    use jiff::Timestamp;
    use uuid::Uuid;

    const USER: UserId = UserId(Uuid::from_u128(1));
    const PROJECT: ProjectId = ProjectId(Uuid::from_u128(2));
    const ROLE: RoleId = RoleId(Uuid::from_u128(3));
    const HELD: Assignment =
        Assignment { party: Party::User(USER), place: Place::Project(PROJECT), inherited: false, role: ROLE };

    fn give(view: &mut View, command: IdentityCommand) -> Result<(), Refusal> {
        let context = Context { actor: Actor::System("test"), now: Timestamp::UNIX_EPOCH };
        let decision = decide(view, &Command::Identity(command), &context)?;
        decision.changes.iter().for_each(|change| view.apply(change));
        Ok(())
    }

    fn feed(number: u8) -> Feed {
        Feed { digest: [number; 32], user: USER, project: PROJECT, created_at: Timestamp::UNIX_EPOCH }
    }

    fn view() -> View {
        let mut view = View::default();
        let project = |id, name: &str, parent| Project {
            id,
            name: name.into(),
            description: String::new(),
            domain: DEFAULT_DOMAIN,
            parent,
            enabled: true,
            tags: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let user = User::new(USER, "ada", String::new(), Timestamp::UNIX_EPOCH);
        let role = Role { id: ROLE, name: "reader".into(), description: String::new(), built_in: true };
        for row in [
            IdentityRow::Project(Arc::new(project(DEFAULT_DOMAIN, "Default", None))),
            IdentityRow::Project(Arc::new(project(PROJECT, "lab", Some(DEFAULT_DOMAIN)))),
            IdentityRow::User(Arc::new(user)),
            IdentityRow::Role(Arc::new(role)),
            IdentityRow::Assignment(HELD),
        ] {
            view.apply(&Change::Identity(Rows::Put(row)));
        }
        view
    }

    #[test]
    fn a_new_one_takes_the_place_of_the_old_one() {
        let mut view = view();
        for number in [1, 2] {
            give(&mut view, IdentityCommand::MakeFeed(Box::new(feed(number)))).expect("he has a role");
        }
        assert_eq!(view.identity.feeds().map(|feed| feed.digest).collect::<Vec<_>>(), [[2; 32]]);
        give(&mut view, IdentityCommand::EndFeed { user: USER, project: PROJECT }).expect("there");
        assert_eq!(view.identity.feed_of(USER, PROJECT), None);
        assert!(give(&mut view, IdentityCommand::EndFeed { user: USER, project: PROJECT }).is_err());
    }

    #[test]
    fn it_ends_with_the_role_and_does_not_come_back_with_it() {
        let endings: [fn(&View) -> IdentityCommand; 3] = [
            |_| IdentityCommand::EndAssignment(HELD),
            |_| IdentityCommand::DeleteUser { id: USER },
            |view| {
                let before = view.identity.user(USER).expect("there").clone();
                let after = User { enabled: false, ..(*before).clone() };
                IdentityCommand::ChangeUser { before, after: Box::new(after) }
            },
        ];
        for ending in endings {
            let mut view = view();
            give(&mut view, IdentityCommand::MakeFeed(Box::new(feed(1)))).expect("he has a role");
            let ending = ending(&view);
            give(&mut view, ending).expect("allowed");
            assert_eq!(view.identity.feeds().count(), 0);
        }
        let mut view = view();
        give(&mut view, IdentityCommand::EndAssignment(HELD)).expect("there");
        assert!(give(&mut view, IdentityCommand::MakeFeed(Box::new(feed(1)))).is_err(), "without a role");
    }
}

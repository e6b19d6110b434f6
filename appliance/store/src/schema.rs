//! The schema version, the migrations between versions, and the counters that are kept with every commit.
//!
//! A migration is a function that turns the tables of schema n into those of n + 1; all that are missing run in one
//! transaction, so that a program killed in between finds either schema.

use crate::audit;
use crate::audit::chain::{Link, START};
use crate::codec;
use crate::error::Fault;
use crate::event_log;
use crate::tables::{self, AUDIT, COLD, ENDED, EVENTS, LIVE, META, kind};
use leasehold_domain::identity::IdentityRow;
use leasehold_domain::rows::{Row, RowKey};
use redb::{ReadTransaction, ReadableTable, TableError, WriteTransaction};
use ring::rand::{SecureRandom, SystemRandom};

/// Turns schema n, its place in the list, into schema n + 1.
pub(crate) type Migration = fn(&WriteTransaction) -> Result<(), Fault>;

/// All migrations: the number of them is the schema that this program writes.
pub(crate) const MIGRATIONS: &[Migration] = &[
    create_tables,
    users_to_identity,
    chain_audit,
    journal_bindings,
    brief_bindings,
    ended_leases,
    fair_leases,
    index_events,
    switch_ports,
    accounted_leases,
];

const SCHEMA: &str = "schema";
const COUNTERS: &str = "counters";
const CURSOR_KEY: &str = "cursor-key";

/// Numbers that rise with every commit and are written in the same transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Commits so far: tells after an I/O error whether the last one reached the disk.
    pub(crate) batch: u64,
    pub(crate) next_event: u64,
    pub(crate) next_audit: u64,
    /// Order among DHCP bindings: the last one written of a client is the one that counts.
    pub(crate) next_order: u64,
    /// The link of the audit's last entry.
    pub(crate) audit_head: Link,
}

impl Counters {
    fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (numbers, head) = bytes.split_at_mut(32);
        let fields = [self.batch, self.next_event, self.next_audit, self.next_order];
        for (chunk, field) in numbers.chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_be_bytes());
        }
        head.copy_from_slice(&self.audit_head);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Counters, Fault> {
        let mut fields = [0; 4];
        let wrong = || Fault::Damaged(format!("the counters have {} bytes instead of 64", bytes.len()));
        let (numbers, head) = bytes.split_at_checked(32).ok_or_else(wrong)?;
        let audit_head = head.try_into().map_err(|_| wrong())?;
        for (field, chunk) in fields.iter_mut().zip(numbers.chunks_exact(8)) {
            *field = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        let [batch, next_event, next_audit, next_order] = fields;
        Ok(Counters { batch, next_event, next_audit, next_order, audit_head })
    }

    pub(crate) fn write(self, transaction: &WriteTransaction) -> Result<(), Fault> {
        transaction.open_table(META)?.insert(COUNTERS, self.to_bytes().as_slice())?;
        Ok(())
    }

    pub(crate) fn read(transaction: &ReadTransaction) -> Result<Counters, Fault> {
        let table = transaction.open_table(META)?;
        let value = table.get(COUNTERS)?.ok_or_else(|| Fault::Damaged("the counters are missing".into()))?;
        Counters::from_bytes(value.value())
    }
}

/// The schema on disk; 0 when the database is new.
pub(crate) fn version(transaction: &ReadTransaction) -> Result<u32, Fault> {
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let Some(value) = table.get(SCHEMA)? else { return Ok(0) };
    let bytes = value.value().try_into().map_err(|_| Fault::Damaged("the schema version cannot be read".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

/// Runs the migrations that are missing from schema `found` on.
pub(crate) fn migrate(transaction: &WriteTransaction, found: u32, migrations: &[Migration]) -> Result<(), Fault> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(Fault::Newer { found, known });
    }
    for (migration, number) in migrations.iter().zip(0_u32..).skip(found as usize) {
        tracing::info!(from = number, to = number + 1, "migrating the database");
        migration(transaction)?;
    }
    transaction.open_table(META)?.insert(SCHEMA, known.to_be_bytes().as_slice())?;
    Ok(())
}

/// Schema 1.
fn create_tables(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(LIVE)?;
    transaction.open_table(COLD)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(AUDIT)?;
    let first = Counters { batch: 0, next_event: 1, next_audit: 1, next_order: 1, audit_head: START };
    first.write(transaction)?;
    let mut key = [0_u8; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| Fault::Io("the system gives no random numbers".into()))?;
    transaction.open_table(META)?.insert(CURSOR_KEY, key.as_slice())?;
    Ok(())
}

/// Schema 2: users are rows of the identity room.
fn users_to_identity(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut live = transaction.open_table(LIVE)?;
    let mut users = Vec::new();
    for entry in live.range([kind::USER_1].as_slice()..[kind::USER_1 + 1].as_slice())? {
        let (key, value) = entry?;
        users.push((key.value().to_vec(), IdentityRow::User(codec::decode(value.value())?)));
    }
    for (old, user) in users {
        live.remove(old.as_slice())?;
        let key = tables::room_key(kind::IDENTITY, &user.key().bytes());
        live.insert(key.as_slice(), codec::encode(&user)?.as_slice())?;
    }
    Ok(())
}

/// Schema 3: the entries of the audit are a chain, and the counters know its last link.
fn chain_audit(transaction: &WriteTransaction) -> Result<(), Fault> {
    let audit_head = audit::chain_rows(transaction)?;
    let mut table = transaction.open_table(META)?;
    let mut bytes = table.get(COUNTERS)?.map(|value| value.value().to_vec()).unwrap_or_default();
    // In schema 2 they end here.
    bytes.resize(32, 0);
    bytes.extend_from_slice(&audit_head);
    table.insert(COUNTERS, bytes.as_slice())?;
    Ok(())
}

/// Schema 4: bindings of addresses may be in the journal beside the database. No row changes, but a program that knows
/// nothing of the journal would miss what is only there, and must not open this database any more.
fn journal_bindings(_transaction: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// Schema 5: bindings are written without names, and the config drive that a node keeps has a row of its own. Bindings
/// with names are read as before and turn brief when they are written again, but a program that knows neither must not
/// open this database any more.
fn brief_bindings(_transaction: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// Schema 6: there are offers and leases, and those that are over have a table of their own.
fn ended_leases(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(ENDED)?;
    Ok(())
}

/// Schema 7: leases have quotas, and those who wait for one a list. No row of before is another, but a program that knows
/// nothing of these kinds of rows must not open this database any more.
fn fair_leases(_transaction: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// Schema 8: events are found by whose they are, their size is known, and there may be webhooks.
fn index_events(transaction: &WriteTransaction) -> Result<(), Fault> {
    event_log::index_all(transaction)
}

/// Schema 9: the hardware room knows which switch ports are not known to be idle. An older program would not.
fn switch_ports(_: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// Schema 10: leases say when their end began and how long a system was deployed, and there are calendar feeds. Rows of
/// before are read as before, but a program that knows nothing of that would lose it.
fn accounted_leases(_transaction: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}

/// The key of the event cursors' cipher.
pub(crate) fn cursor_key(transaction: &ReadTransaction) -> Result<Vec<u8>, Fault> {
    let table = transaction.open_table(META)?;
    let value = table.get(CURSOR_KEY)?.ok_or_else(|| Fault::Damaged("the cursor key is missing".into()))?;
    Ok(value.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

    fn database() -> Database {
        Database::builder().create_with_backend(InMemoryBackend::new()).expect("a database in memory")
    }

    fn run(database: &Database, migrations: &[Migration]) -> Result<(), Fault> {
        let found = version(&database.begin_read()?)?;
        let transaction = database.begin_write()?;
        migrate(&transaction, found, migrations)?;
        Ok(transaction.commit()?)
    }

    fn add_note(transaction: &WriteTransaction) -> Result<(), Fault> {
        transaction.open_table(META)?.insert("note", b"x".as_slice())?;
        Ok(())
    }

    fn fail(transaction: &WriteTransaction) -> Result<(), Fault> {
        add_note(transaction)?;
        Err(Fault::Io("no".into()))
    }

    #[test]
    fn a_new_database_gets_the_newest_schema_and_an_old_one_only_what_is_missing() {
        let database = database();
        run(&database, &[create_tables]).expect("schema 1");
        let key = cursor_key(&database.begin_read().expect("read")).expect("there");
        run(&database, &[create_tables, add_note]).expect("schema 2");
        let read = database.begin_read().expect("read");
        assert_eq!(version(&read), Ok(2));
        assert_eq!(cursor_key(&read), Ok(key), "the first migration ran once");
    }

    #[test]
    fn users_of_schema_1_move_into_the_identity_room() {
        #[derive(serde::Serialize)]
        struct Old<'a> {
            id: uuid::Uuid,
            name: &'a str,
            password_hash: &'a str,
            one_time: bool,
            enabled: bool,
            created_at: jiff::Timestamp,
            password_changed_at: jiff::Timestamp,
        }
        let (id, at) = (uuid::Uuid::from_u128(7), jiff::Timestamp::UNIX_EPOCH);
        let old = Old {
            id,
            name: "admin",
            password_hash: "$x",
            one_time: true,
            enabled: true,
            created_at: at,
            password_changed_at: at,
        };
        let database = database();
        run(&database, &[create_tables]).expect("schema 1");
        let write = database.begin_write().expect("write");
        let key = [&[kind::USER_1][..], id.as_bytes()].concat();
        let row = codec::encode(&old).expect("encoded");
        write.open_table(LIVE).expect("live").insert(key.as_slice(), row.as_slice()).expect("written");
        write.commit().expect("committed");
        run(&database, &[create_tables, users_to_identity]).expect("schema 2");
        let view = crate::live::load(&database.begin_read().expect("read")).expect("loaded");
        let user = view.identity.user_of_default_domain("admin").expect("moved");
        assert!(user.id.0 == id && user.one_time && user.enabled && user.password_hash == "$x");
    }

    #[test]
    fn an_audit_of_schema_2_becomes_a_chain() {
        #[derive(serde::Serialize)]
        struct Old<'a> {
            at: jiff::Timestamp,
            actor: &'a str,
            what: &'a str,
            subject: Option<&'a str>,
            outcome: audit::Outcome,
        }
        let database = database();
        run(&database, &[create_tables, users_to_identity]).expect("schema 2");
        let write = database.begin_write().expect("write");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let refused = audit::Outcome::Refused { reason: "no".into(), count: 7, since: at };
        for (number, outcome) in [(5, audit::Outcome::Done), (6, refused.clone()), (7, audit::Outcome::Done)] {
            let old = Old { at, actor: "eve", what: "delete-node", subject: Some("n"), outcome };
            let row = codec::encode(&old).expect("encoded");
            write.open_table(tables::AUDIT).expect("audit").insert(number, row.as_slice()).expect("written");
        }
        let counters = Counters { batch: 9, next_event: 4, next_audit: 8, next_order: 2, audit_head: START };
        let old = &counters.to_bytes()[..32];
        write.open_table(META).expect("meta").insert(COUNTERS, old).expect("written");
        write.commit().expect("committed");

        run(&database, &[create_tables, users_to_identity, chain_audit]).expect("schema 3");
        let read = database.begin_read().expect("read");
        let after = Counters::read(&read).expect("counters");
        assert_eq!(Counters { audit_head: START, ..after }, counters);
        let verified = audit::verify(&read, (7, after.audit_head), None).expect("verified");
        assert_eq!((verified.faults, verified.removed, verified.count), (Vec::new(), 4, 3));
        let entries = audit::newest(&read, 10).expect("read");
        assert_eq!(entries[1].outcome, refused);
        assert_eq!((entries[2].actor.as_str(), entries[2].subject.as_deref()), ("eve", Some("n")));
    }

    #[test]
    fn a_program_without_the_journal_does_not_open_a_database_that_may_lean_on_it() {
        let database = database();
        let without = &MIGRATIONS[..3];
        run(&database, without).expect("schema 3");
        let row = |read: &ReadTransaction| {
            let table = read.open_table(META).expect("meta");
            let value = table.get(COUNTERS).expect("read").expect("there");
            value.value().to_vec()
        };
        let before = row(&database.begin_read().expect("read"));
        run(&database, MIGRATIONS).expect("the newest schema");
        assert_eq!(row(&database.begin_read().expect("read")), before, "nothing but the number changes");
        let known = u32::try_from(MIGRATIONS.len()).expect("few");
        assert_eq!(run(&database, without), Err(Fault::Newer { found: known, known: 3 }));
    }

    #[test]
    fn events_of_schema_6_are_found_by_whose_they_are() {
        use crate::event_log::{self, EventsFrom};
        use leasehold_domain::event::{Event, What};
        let database = database();
        run(&database, &MIGRATIONS[..6]).expect("schema 6");
        let write = database.begin_write().expect("write");
        for number in 1..=3_u64 {
            let owner = (number != 2).then(|| "anna".to_owned());
            let at = jiff::Timestamp::UNIX_EPOCH;
            let event = Event { at, node: None, owner, lessee: None, what: What::NodeChanged };
            let row = codec::encode(&event).expect("encoded");
            write.open_table(EVENTS).expect("events").insert(number, row.as_slice()).expect("written");
        }
        write.commit().expect("committed");
        run(&database, MIGRATIONS).expect("the newest schema");
        let read = database.begin_read().expect("read");
        let by = crate::EventsBy { whose: Some(vec!["anna".into()]), ..Default::default() };
        let page = event_log::page(&read, &by, EventsFrom::Before(None), 9, 4, |_| true).expect("read").expect("kept");
        let numbers: Vec<u64> = page.events.iter().map(|recorded| recorded.cursor.number()).collect();
        assert_eq!(numbers, [3, 1]);
        let (oldest, bytes) = event_log::oldest(&read).expect("read");
        assert!(oldest.is_some_and(|(number, _)| number == 1) && bytes > 60, "{bytes}");
    }

    #[test]
    fn a_failed_migration_leaves_the_old_schema() {
        let database = database();
        run(&database, &[create_tables]).expect("schema 1");
        assert!(run(&database, &[create_tables, fail]).is_err());
        let read = database.begin_read().expect("read");
        assert_eq!(version(&read), Ok(1));
        assert!(read.open_table(META).expect("there").get("note").expect("read").is_none());
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let database = database();
        run(&database, &[create_tables, add_note]).expect("schema 2");
        assert_eq!(run(&database, &[create_tables]), Err(Fault::Newer { found: 2, known: 1 }));
    }

    #[test]
    fn counters_are_read_back() {
        let counters = Counters { batch: 1, next_event: u64::MAX, next_audit: 3, next_order: 256, audit_head: [7; 32] };
        assert_eq!(Counters::from_bytes(&counters.to_bytes()), Ok(counters));
        assert!(Counters::from_bytes(&[0; 31]).is_err());
    }
}

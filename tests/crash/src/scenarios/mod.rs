//! The scenarios, each a promise of the appliance about crashes.
//!
//! In: worlds (a box and a simulated node each) and states to begin with. Out: points passed and failed. `steps` and
//! `commits` kill the program during the life of a node, `load` while users write, `full_disk` takes its space, `starts`
//! starts it where it must not start, `clock` moves its clock. The end of a lease is killed as the life of a node is.

pub(crate) mod clock;
pub(crate) mod commits;
pub(crate) mod full_disk;
pub(crate) mod load;
pub(crate) mod starts;
pub(crate) mod steps;

use crate::lanes;
use crate::world::{Snapshot, Work, World};
use anyhow::{Result, ensure};

/// The states that scenarios begin with.
pub(crate) struct Bases {
    /// Enrolled, nothing verified.
    pub(crate) enrolled: Snapshot,
    pub(crate) manageable: Snapshot,
    pub(crate) available: Snapshot,
    pub(crate) active: Snapshot,
    pub(crate) rescue: Snapshot,
    /// A lessee's, who runs his system on it.
    pub(crate) leased: Snapshot,
}

/// Takes a node through its whole life once, and keeps a copy of each state of rest.
///
/// # Errors
/// Whatever fails on the way.
pub(crate) fn bases(world: &mut World) -> Result<Bases> {
    lanes::alone(world, |world| {
        world.start()?;
        world.enrol()?;
        world.kill();
        let enrolled = world.snapshot("enrolled")?;
        for work in [Work::Manage, Work::Inspect] {
            reach(world, &work)?;
        }
        let manageable = world.snapshot("manageable")?;
        reach(world, &Work::Clean)?;
        let available = world.snapshot("available")?;
        reach(world, &Work::deploy())?;
        let active = world.snapshot("active")?;
        reach(world, &Work::Rescue)?;
        let rescue = world.snapshot("rescue")?;
        world.restore(&available)?;
        world.start()?;
        world.lend()?;
        world.kill();
        reach(world, &Work::deploy())?;
        Ok(Bases { enrolled, manageable, available, active, rescue, leased: world.snapshot("leased")? })
    })
}

/// Does the work without a disturbance; the program is down afterwards.
fn reach(world: &mut World, work: &Work) -> Result<()> {
    world.start()?;
    let (status, answer) = world.ask_for(work)?;
    ensure!(status == 202, "{}: {status}: {answer}", work.kind());
    world.must_end(work)?;
    world.kill();
    Ok(())
}

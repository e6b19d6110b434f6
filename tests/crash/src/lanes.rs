//! Several worlds at work at the same time: most of a deployment is waiting.
//!
//! In: worlds, and points of work that are handed out one by one. Out: what came of each. A thread works inside the
//! network of its world's box.

use crate::report::Report;
use crate::world::World;
use anyhow::{Context, Result};
use leasehold_rack::netns::Namespace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsFd;

/// Moves the calling thread into a network.
fn enter(network: &Namespace) -> Result<()> {
    let file = File::open(network.path())?;
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(file.as_fd(), kind).context("a thread cannot enter its box's network")
}

/// Lets all worlds take points from `next` until there is none; reports each.
pub(crate) fn run<P: Display>(
    worlds: &mut [World],
    report: &Report,
    next: impl Fn() -> Option<P> + Sync,
    work: impl Fn(&mut World, &P) -> Result<()> + Sync,
) {
    let (next, work) = (&next, &work);
    std::thread::scope(|scope| {
        for world in worlds {
            scope.spawn(move || {
                let entered = enter(&world.site.network);
                while !world.common.stop.requested() {
                    let Some(point) = next() else { return };
                    let name = point.to_string();
                    if !name.contains(&world.common.only) {
                        continue;
                    }
                    let outcome = match &entered {
                        Ok(()) => work(world, &point),
                        Err(error) => Err(anyhow::anyhow!("{error:#}")),
                    };
                    if world.common.stop.requested() {
                        return;
                    }
                    report.point(&name, outcome);
                }
            });
        }
    });
}

/// Does one thing inside the network of a world's box.
///
/// # Errors
/// The work's own, or that the thread did not live to its end.
pub(crate) fn alone<T: Send>(world: &mut World, work: impl FnOnce(&mut World) -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            enter(&world.site.network)?;
            work(world)
        });
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the scenario's thread failed")))
    })
}

//! The program: command line, configuration, first start, wiring of all parts.
//!
//! In: arguments and a configuration file. Out: the running appliance (`serve`), or the answer of a local command. Only
//! this crate knows all others; it holds no rule and no protocol.

mod account;
mod audit;
mod config;
mod event;
mod first_start;
mod follow;
mod hooks;
mod image;
mod inner;
mod leases;
mod local;
mod netboot;
mod output;
mod policy;
mod privileges;
mod serve;
mod show;
mod webhook;

use clap::{Args, Parser, Subcommand};
use leasehold_api::policy::LoadError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives freed memory back to the system. With glibc's allocator the memory of one password check (Argon2) stayed for
/// good, and what one thread allocates and another frees cost a fifth of a change's processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Leasehold: boots, images, isolates and lends out bare servers.
#[derive(Parser)]
#[command(name = "leasehold", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the appliance.
    Serve(ServeArguments),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at nodes, and work on those in quarantine, on the box itself.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at images, add and delete them, on the box itself.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Offers of nodes to whoever needs them: look at them, make and withdraw them.
    #[command(subcommand)]
    Offer(leases::offer::OfferCommand),
    /// Leases of nodes: look at them, give and claim them, extend them, give them back.
    #[command(subcommand)]
    Lease(leases::lease::LeaseCommand),
    /// Several nodes at once, or none: reserve them, extend and return them as one.
    #[command(subcommand)]
    Reservation(leases::reservation::ReservationCommand),
    /// What happened to nodes, offers and leases, and what happens.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Run the programs of a folder for each event; not for root: see leasehold-hooks.service.
    Hooks(hooks::HooksArguments),
    /// URLs that are told what happens: look at them, add and remove them.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Nodes and their time: what is offered, leased and free.
    Calendar(leases::calendar::CalendarArguments),
    /// How much of the nodes' time was offered, leased, used and idle.
    Usage(leases::usage::UsageArguments),
    /// Users on the box itself: list, make, and let back in who has forgotten his password.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Who may do what: look at the rules, check and reload them, ask why.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Who did what: list, export and verify the audit.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Say which version this is.
    Version,
}

#[derive(Args)]
struct ServeArguments {
    /// The configuration file; without it the defaults hold, changed by the options below.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The state folder, instead of the configured one.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Where users reach the APIs, instead of the configured address. Port 0: any free one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// For trials: no TLS; loopback only.
    #[arg(long)]
    plain_http: bool,
    /// A file that appears, with the URLs as JSON, when everything listens.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read a configuration file and say whether it is right.
    Check {
        #[arg(long, default_value = "/etc/leasehold/leasehold.toml")]
        config: PathBuf,
    },
}

#[derive(Args)]
struct SocketArgument {
    /// The appliance's socket.
    #[arg(long, env = "LEASEHOLD_SOCKET", default_value = "/var/lib/leasehold/leasehold.sock")]
    socket: PathBuf,
}

#[derive(Subcommand)]
enum NodeCommand {
    /// All nodes, a line each.
    List {
        #[command(flatten)]
        socket: SocketArgument,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// One node and its last jobs.
    Show {
        /// Name, UUID or MAC address.
        node: String,
        #[command(flatten)]
        socket: SocketArgument,
        #[arg(long)]
        json: bool,
    },
    /// What the node did while it booted, and how its jobs went.
    Trace {
        /// Name, UUID or MAC address.
        node: String,
        #[command(flatten)]
        socket: SocketArgument,
        #[arg(long)]
        json: bool,
        /// Go on with what comes.
        #[arg(long)]
        follow: bool,
    },
    /// Take a node in quarantine back from its last lessee once more.
    Retry {
        /// Name, UUID or MAC address.
        node: String,
        #[command(flatten)]
        socket: SocketArgument,
    },
    /// Let a node in quarantine be worked on. Until a wipe of it was proven nobody gets it.
    Release {
        /// Name, UUID or MAC address.
        node: String,
        #[command(flatten)]
        socket: SocketArgument,
    },
}

/// The exit status for a configuration that cannot be used (`EX_CONFIG` of sysexits.h). A service manager need not start
/// the program again before a person has changed the file; interfaces that are missing may still come, and are not meant.
const WRONG_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => match serve::prepare(&arguments) {
            Ok(config) => serve::main(&config, arguments.ready_file.as_deref()),
            Err(error) => {
                eprintln!("leasehold: {error:#}");
                return ExitCode::from(WRONG_CONFIGURATION);
            }
        },
        Command::Config(ConfigCommand::Check { config }) => check_config(&config),
        Command::Node(command) => show::main(&command),
        Command::Image(command) => image::main(&command),
        Command::Offer(command) => leases::offer::main(&command),
        Command::Lease(command) => leases::lease::main(&command),
        Command::Reservation(command) => leases::reservation::main(&command),
        Command::Event(command) => event::main(&command),
        Command::Webhook(command) => webhook::main(&command),
        Command::Hooks(arguments) => hooks::main(&arguments),
        Command::Calendar(arguments) => leases::calendar::main(&arguments),
        Command::Usage(arguments) => leases::usage::main(&arguments),
        Command::Account(command) => account::main(&command),
        Command::Audit(command) => audit::main(&command),
        Command::Policy(command) => policy::main(&command),
        Command::Version => show::line(&format!("leasehold {}", env!("CARGO_PKG_VERSION"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leasehold: {error:#}");
            // The policy file is a part of the configuration.
            if error.is::<LoadError>() { ExitCode::from(WRONG_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn check_config(path: &std::path::Path) -> anyhow::Result<()> {
    let config = config::Config::read(path)?;
    netboot::check_interfaces(&config)?;
    config.policy.source().load()?;
    show::line(&format!("{} is right", path.display()))
}

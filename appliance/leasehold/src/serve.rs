//! `leasehold serve`: from a configuration to a running appliance, and its orderly end.

use crate::config::{Config, LogFormat, Wipe};
use crate::inner;
use crate::netboot::{self, BootInterface, Scripts};
use crate::{ServeArguments, first_start, privileges};
use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use leasehold_api::{
    Api,
    auth::{Guard, Passwords},
    limits::Limits,
    serve as http,
    serve::Door,
};
use leasehold_domain::boot::KernelArgument;
use leasehold_domain::command::Actor;
use leasehold_engine::bmcs::Bmcs;
use leasehold_engine::images::{ImageSettings, ImageStore, Patience};
use leasehold_engine::switches::Switches;
use leasehold_engine::tickets::Tickets;
use leasehold_engine::{Engine, Settings};
use leasehold_netboot::files::BootFiles;
use leasehold_store::{KeySource, Options, Retention, Sealer, Store, Trace, TraceOptions};
use serde_json::json;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The configuration, checked, with what the command line says put over it; from here on there is a log.
pub(crate) fn prepare(arguments: &ServeArguments) -> anyhow::Result<Config> {
    let config = configuration(arguments)?;
    start_log(&config)?;
    Ok(config)
}

/// Runs the appliance until it is told to stop.
pub(crate) fn main(config: &Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    privileges::raise_file_limit();
    // Before any thread exists: capabilities belong to threads, and later ones inherit them.
    privileges::reduce().context("root's other capabilities cannot be given up")?;
    // Requests are computed in as many turns as there are processors; one thread more, so that somebody looks at sockets
    // and answers what is quick while all of those compute.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = runtime.block_on(run(config, ready_file));
    // Connections that wait for news would hold a plain drop for their whole wait.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

fn configuration(arguments: &ServeArguments) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(state) = &arguments.state {
        config.state_folder.clone_from(state);
    }
    if let Some(listen) = arguments.listen {
        config.public.listen = listen;
    }
    config.public.plain_http |= arguments.plain_http;
    config.check()?;
    Ok(config)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn run(config: &Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let state = config.state_folder.clone();
    first_start::make_folder(&state)?;
    netboot::check_interfaces(config)?;
    let interfaces = netboot::boot_interfaces(config)?;
    let store = Store::open(&state, store_options(config))?;
    let trace = Trace::open(&state, TraceOptions::default())?;
    let result = run_with(config, ready_file, &interfaces, &store, &trace).await;
    trace.close().await;
    store.close().await;
    result
}

async fn run_with(
    config: &Config,
    ready_file: Option<&Path>,
    interfaces: &[BootInterface],
    store: &Store,
    trace: &Trace,
) -> anyhow::Result<()> {
    let state = &config.state_folder;
    let sealer = Arc::new(Sealer::open(&key_source(state))?);
    let given = config.public.certificate.as_deref().zip(config.public.key.as_deref());
    let identity = first_start::identity(state, given, || certificate_names(config, interfaces))?;
    first_start::administrator(store, state).await?;
    let engine = engine(config, interfaces, store, trace, sealer)?;
    let files = Arc::new(boot_files(config, interfaces)?);
    let policy = ArcSwap::from_pointee(config.policy.source().load()?);
    let api = Api {
        engine: engine.clone(),
        passwords: Arc::new(Passwords::new().map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?),
        guard: Arc::new(Guard::new(config.identity.settings())),
        policy: policy.into(),
        policy_source: Arc::new(config.policy.source()),
        limits: Arc::new(Limits::new(config.limits.settings())),
        tenants: Arc::new(tenants(config, interfaces)),
        webhooks: Arc::new(inner::webhooks(config)?),
        orders: Arc::default(),
        hostname: hostname().into(),
        started: Timestamp::now(),
        password_file: Arc::new(first_start::password_file(state)),
    };

    let public = TcpListener::bind(config.public.listen).await;
    let public =
        public.with_context(|| format!("users cannot be served on {}: is the port taken?", config.public.listen))?;
    let public_address = public.local_addr()?;
    let tls = (!config.public.plain_http).then(|| identity.tls.clone());
    let open = open_listener(config).await?;
    let local = local_socket(&config.socket())?;
    let mut agents = Vec::new();
    for interface in interfaces {
        let address = SocketAddr::from((interface.address, netboot::AGENT_PORT));
        let listener = TcpListener::bind(address).await;
        agents.push(listener.with_context(|| format!("agents cannot be served on {address}: is the port taken?"))?);
    }
    let scripts =
        Scripts { engine: engine.clone(), files: files.clone(), pin: identity.pin, extra: kernel_parameters(config) };
    let _servers = netboot::start(&engine, interfaces, files, &scripts).await?;

    let owner = rustix::process::geteuid().as_raw();
    let mut listeners = JoinSet::new();
    let door = Door::for_users(&api.limits);
    listeners.spawn(http::tcp(public, tls.clone(), leasehold_api::public(api.clone()), door));
    listeners.spawn(http::unix(local, leasehold_api::local(api.clone()), move |uid| uid == 0 || uid == owner));
    if let Some(path) = &config.events.socket {
        let told = leasehold_api::told(api.clone());
        listeners.spawn(http::unix(bound(path, 0o660)?, told, |_| true));
    }
    let open_address = open.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    if let Some((listener, user)) = open {
        let door = Door::for_users(&api.limits);
        listeners.spawn(http::tcp(listener, None, leasehold_api::open(api.clone(), &user), door));
    }
    for listener in agents {
        let door = Door::for_agents(&api.limits);
        listeners.spawn(http::tcp(listener, Some(identity.tls.clone()), leasehold_api::boot(api.clone()), door));
    }
    listeners.spawn(reload_on_signal(api.clone()));
    listeners.spawn(leasehold_api::identity::housekeeping(store.clone()));
    let mut running = engine.start();
    let rules = api.policy.clone();
    let rules: leasehold_engine::webhooks::Rules = Arc::new(move || rules.load_full());
    let told = leasehold_engine::webhooks::run(store.clone(), engine.sealer.clone(), rules, (*api.webhooks).clone());
    listeners.spawn(told);
    let switches = engine.switches.clone();
    listeners.spawn(async move {
        switches.check().await;
        std::future::pending().await
    });

    let scheme = if tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{public_address}");
    tell_ready(ready_file, &base, open_address, config, interfaces)?;
    tracing::info!(url = base, nodes = store.view().node_count(), "ready");
    // A part that ends by itself is a defect; the service manager starts the program again, and its jobs go on.
    let failure = tokio::select! {
        () = wait_for_the_end() => None,
        why = running.failed() => Some(why),
        _ = listeners.join_next() => Some("a listener has ended".to_owned()),
    };
    tracing::info!("stopping");
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).ok();
    std::fs::remove_file(config.socket()).ok();
    match failure {
        Some(why) => anyhow::bail!("{why}; see the log"),
        None => Ok(()),
    }
}

fn store_options(config: &Config) -> Options {
    let usual = Options::default();
    let audit = Retention { days: config.audit.keep_days, ..usual.audit };
    let leases = config.lease.retention();
    let (events, events_bytes) = (config.events.retention(usual.events), config.events.max_mib << 20);
    Options { audit, audit_bytes: config.audit.max_mib << 20, events, events_bytes, leases, ..usual }
}

/// The sealing key: a systemd credential where there is one, else a file of our own.
fn key_source(state: &Path) -> KeySource {
    const CREDENTIAL: &str = "leasehold-key";
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(std::path::PathBuf::from);
    match folder.filter(|folder| folder.join(CREDENTIAL).exists()) {
        Some(_) => KeySource::Credential(CREDENTIAL.into()),
        None => KeySource::File(state.join("sealing-key")),
    }
}

fn engine(
    config: &Config,
    interfaces: &[BootInterface],
    store: &Store,
    trace: &Trace,
    sealer: Arc<Sealer>,
) -> anyhow::Result<Engine> {
    let images = ImageSettings {
        folder: config.state_folder.join("images"),
        import_folder: config.images.import_folder.clone(),
        max_size: config.images.max_size_gib << 30,
        reserve: config.images.reserve_mib << 20,
        quota: config.images.quota_gib.map(|gib| gib << 30),
        forbidden: inner::no_images_from(config)?,
        allowed: config.images.fetch_from.clone(),
        patience: Patience::default(),
    };
    let images = ImageStore::open(images, &store.view());
    let settings = Settings {
        agent_url: interfaces.first().map(BootInterface::agent_url).unwrap_or_default(),
        wipe: match config.cleaning.wipe {
            Wipe::Full => leasehold_engine::Wipe::Full,
            Wipe::Metadata => leasehold_engine::Wipe::Metadata,
        },
        power_sync_every: Duration::from_secs(config.power.sync_seconds),
        soft_off_patience: Duration::from_secs(config.power.soft_off_seconds),
        silence_patience: Duration::from_secs(config.agent.silence_seconds),
        lease: config.lease.settings(),
    };
    Ok(Engine {
        store: store.clone(),
        trace: trace.clone(),
        bmcs: Arc::new(Bmcs::new(sealer.clone())),
        images: Arc::new(images.context("the folder of images cannot be opened")?),
        tickets: Arc::new(Tickets::new(sealer.clone())),
        sealer,
        switches: Arc::new(switches(config)?),
        settings: Arc::new(settings),
    })
}

/// The switches that machines are plugged into.
fn switches(config: &Config) -> anyhow::Result<Switches> {
    let known = crate::config::known_switches(&config.switches);
    Ok(Switches::new(known.context("a switch of the configuration cannot be used")?))
}

/// What projects may have, and where their machines stand.
fn tenants(config: &Config, interfaces: &[BootInterface]) -> leasehold_api::tenants::Tenants {
    let limits = &config.tenants;
    leasehold_api::tenants::Tenants {
        networks: limits.networks,
        subnets: limits.subnets,
        ports: limits.ports,
        images: limits.images,
        image_bytes: if limits.image_gib < 0 { -1 } else { limits.image_gib.saturating_mul(1 << 30) },
        wires: interfaces.iter().map(|interface| interface.network).collect(),
    }
}

/// The boot files; without a boot interface nobody needs them.
fn boot_files(config: &Config, interfaces: &[BootInterface]) -> anyhow::Result<BootFiles> {
    if interfaces.is_empty() {
        return Ok(BootFiles::empty(&config.boot_files));
    }
    Ok(BootFiles::open(&config.boot_files)?)
}

fn kernel_parameters(config: &Config) -> Vec<KernelArgument> {
    let argument = |text: &String| match text.split_once('=') {
        Some((key, value)) => KernelArgument::new(key, value),
        None => KernelArgument { key: text.clone(), value: None },
    };
    config.agent.kernel_parameters.iter().map(argument).collect()
}

fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "leasehold".into() } else { name }
}

/// What the certificate is good for: the host's name, what is configured, and the addresses that it is reached by.
fn certificate_names(config: &Config, interfaces: &[BootInterface]) -> Vec<String> {
    let mut names = vec![hostname(), "localhost".into(), "127.0.0.1".into()];
    names.extend(config.public.names.iter().cloned());
    if !config.public.listen.ip().is_unspecified() {
        names.push(config.public.listen.ip().to_string());
    }
    names.extend(interfaces.iter().map(|interface| interface.address.to_string()));
    names.sort();
    names.dedup();
    names
}

/// The socket for the local command line; only our own user and root may open it.
fn local_socket(path: &Path) -> anyhow::Result<UnixListener> {
    bound(path, 0o600)
}

/// A socket at this path, which may be opened by whom its mode and the group of its folder let.
fn bound(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    // A socket that a killed run left behind. The lock on the state folder says that nobody uses it.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("the socket {} cannot be replaced", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("no socket can be made at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Where clients without credentials are served, and the user that they are.
async fn open_listener(config: &Config) -> anyhow::Result<Option<(TcpListener, String)>> {
    let Some((address, user)) = config.local.open_listen.zip(config.local.open_as.clone()) else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("nobody can be served on {address}: is the port taken?"))?;
    tracing::warn!(%address, user, "whoever is on this box needs no credentials there, and is this user");
    Ok(Some((listener, user)))
}

/// Tells systemd, and whoever waits for the ready file.
fn tell_ready(
    ready_file: Option<&Path>,
    base: &str,
    open: Option<SocketAddr>,
    config: &Config,
    interfaces: &[BootInterface],
) -> anyhow::Result<()> {
    if let Some(path) = ready_file {
        let document = json!({
            "url": base,
            "open": open.map(|address| format!("http://{address}")),
            "baremetal": format!("{base}/baremetal"),
            "identity": format!("{base}/identity"),
            "appliance": format!("{base}/appliance"),
            "agents": interfaces.iter().map(BootInterface::agent_url).collect::<Vec<_>>(),
            "socket": config.socket(),
            "admin_password_file": first_start::password_file(&config.state_folder),
        });
        first_start::write_private(path, document.to_string().as_bytes())?;
    }
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
    if let Some(every) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every / 2).await;
                sd_notify::notify(&[sd_notify::NotifyState::Watchdog]).ok();
            }
        });
    }
    Ok(())
}

/// SIGHUP puts the policy file in force anew. What is wrong with it is told in the log, and changes nothing.
async fn reload_on_signal(api: Api) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be received: policy is reloaded by `leasehold policy reload` only");
        return std::future::pending().await;
    };
    while hangup.recv().await.is_some() {
        // The reload itself tells how it went.
        let _ = leasehold_api::policy::reload(&api, &Actor::Local(rustix::process::geteuid().as_raw())).await;
    }
}

async fn wait_for_the_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; stopping");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

//! A state folder in which a deployment of the image is under way, so that the appliance hands the image out.

use anyhow::{Context, Result, bail, ensure};
use leasehold_domain::id::{JobId, NodeId, PortId};
use leasehold_domain::job::{JobInput, StepName};
use leasehold_domain::node::NodeSettings;
use leasehold_domain::port::PortSettings;
use leasehold_domain::provision::Verb;
use leasehold_domain::{Actor, Command, command::StepEnd, id::ImageId};
use leasehold_engine::tickets::Tickets;
use leasehold_store::{KeySource, Options, Sealer, Store};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const NODE: NodeId = NodeId(Uuid::from_u128(1));

/// Brings a node to where its agent would fetch the image; gives the ticket. The appliance must not run.
pub(super) fn start_job(state: &Path, image: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(state, Options::default())?;
        let image = ImageId(Uuid::parse_str(image)?);
        enroll(&store, image).await?;
        for verb in [Verb::Manage, Verb::Provide, Verb::Deploy] {
            let (job, input) = (JobId(Uuid::new_v4()), Box::new(JobInput::default()));
            submit(&store, Command::Provision { node: NODE, verb, job, input }).await?;
            while work(&store, image).await? {}
        }
        let sealer = Sealer::open(&KeySource::File(state.join("sealing-key")))?;
        let view = store.view();
        let node = view.node(NODE).context("the node")?;
        let job = view.running_job(node).context("the deployment has ended too soon")?;
        ensure!(job.input.image == Some(image), "the deployment has no image");
        let ticket = Tickets::new(Arc::new(sealer)).image_ticket(job);
        store.close().await;
        Ok(ticket)
    })
}

async fn submit(store: &Store, command: Command) -> Result<()> {
    let name = command.name();
    store.submit(command, Actor::System("bench")).await.with_context(|| name)?;
    Ok(())
}

async fn enroll(store: &Store, image: ImageId) -> Result<()> {
    let info = json!({"image_source": image.to_string()});
    let bmc = json!({"ipmi_address": "127.0.0.1", "ipmi_username": "nobody"});
    let settings = NodeSettings {
        name: Some("node0".into()),
        driver: "ipmi".into(),
        driver_info: bmc.as_object().cloned().unwrap_or_default(),
        instance_info: info.as_object().cloned().unwrap_or_default(),
        ..NodeSettings::default()
    };
    submit(
        store,
        Command::CreateNode {
            id: NODE,
            settings: Box::new(settings),
            start: leasehold_domain::command::NodeStart::default(),
        },
    )
    .await?;
    let port = PortSettings::new(NODE, "02:ee:00:00:00:01".parse().map_err(|_| anyhow::anyhow!("no MAC"))?);
    submit(store, Command::CreatePort { id: PortId(Uuid::from_u128(7)), settings: Box::new(port) }).await
}

/// Does what engine and agent would do for the present step; false when there is none, or when the agent of the
/// deployment is awaited.
async fn work(store: &Store, image: ImageId) -> Result<bool> {
    let view = store.view();
    let node = view.node(NODE).context("the node")?;
    let Some(job) = view.running_job(node) else { return Ok(false) };
    let Some(step) = job.current().map(|step| step.name) else { bail!("a job without a step") };
    if job.input.image.is_some() && step == StepName::AwaitAgent {
        return Ok(false);
    }
    let job = job.id;
    submit(store, Command::StartStep { job, step }).await?;
    if step == StepName::PrepareImage {
        submit(store, Command::UseImage { job, image }).await?;
    }
    let boot = store.view().running_job(node).map_or(0, |job| job.boots);
    let done = match step {
        StepName::AwaitAgent => Command::AgentHeartbeat {
            job,
            boot,
            callback_url: "https://10.96.0.2:9999".into(),
            certificate: None,
            version: "1".into(),
        },
        step => Command::EndStep { job, step, end: StepEnd::Done(None) },
    };
    submit(store, done).await?;
    Ok(true)
}

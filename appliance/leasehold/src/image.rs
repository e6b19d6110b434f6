//! The local commands about images: `image list`, `image add`, `image folder`, `image import`, `image delete`.

use crate::show::{line, text};
use crate::{SocketArgument, local};
use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use leasehold_api::url::escaped;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const IMAGES: &str = "/appliance/v1/images";
const FOLDER: &str = "/appliance/v1/import-folder";
/// Between two looks at an image that is being fetched.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(crate) enum ImageCommand {
    /// All images, a line each, and the space they take.
    List {
        #[command(flatten)]
        socket: SocketArgument,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Bring an image into the appliance: a raw or qcow2 file of this machine, or one that the appliance fetches.
    Add {
        /// A file, or an http, https or file URL (file: one in the appliance's import folder).
        source: String,
        /// Its SHA-256 or SHA-512 in hex, as its publisher tells it.
        #[arg(long)]
        checksum: String,
        /// What deployments call it by; the file's name without its ending if left out.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        socket: SocketArgument,
    },
    /// What lies in the import folder ([images] import_folder), ready to be imported.
    Folder {
        #[command(flatten)]
        socket: SocketArgument,
    },
    /// Make an image of a file in the import folder: raw or qcow2, as its content says.
    Import(Import),
    /// Remove an image. Machines that were deployed with it stay as they are.
    Delete {
        /// Name or UUID.
        image: String,
        #[command(flatten)]
        socket: SocketArgument,
    },
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The file, as `image folder` shows it.
    file: String,
    /// What deployments call the image by; the file's name without its ending if left out.
    #[arg(long)]
    name: Option<String>,
    /// SHA-256 or SHA-512 in hex, as the publisher tells it: another file is refused. Without it the SHA-256 is shown.
    #[arg(long)]
    checksum: Option<String>,
    /// The project (name or id) that is to own the image; without it, the box does.
    #[arg(long)]
    project: Option<String>,
    /// Who may use it: public (default), community, or with --project shared or private (default there).
    #[arg(long)]
    visibility: Option<String>,
    #[command(flatten)]
    socket: SocketArgument,
}

/// Runs a command about images.
pub(crate) fn main(command: &ImageCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            ImageCommand::List { socket, json } => list(&socket.socket, *json).await,
            ImageCommand::Add { source, checksum, name, socket } => {
                add(source, checksum, name.as_deref(), &socket.socket).await
            }
            ImageCommand::Folder { socket } => folder(&socket.socket).await,
            ImageCommand::Import(wanted) => import(wanted).await,
            ImageCommand::Delete { image, socket } => {
                let path = format!("{IMAGES}/{}", escaped(image));
                local::send(&socket.socket, Method::DELETE, &path, local::Content::None).await?;
                line(&format!("{image} is deleted"))
            }
        }
    })
}

/// A number of bytes for people.
fn size(bytes: Option<&Value>) -> String {
    match bytes.and_then(Value::as_u64) {
        None => "-".into(),
        Some(bytes) if bytes < 10 << 20 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        Some(bytes) if bytes < 10 << 30 => format!("{} MiB", bytes >> 20),
        Some(bytes) => format!("{} GiB", bytes >> 30),
    }
}

async fn list(socket: &Path, json: bool) -> anyhow::Result<()> {
    let document = local::get(socket, IMAGES).await?;
    if json {
        return line(&serde_json::to_string_pretty(&document)?);
    }
    line(&format!(
        "{:<24} {:<36} {:<8} {:<6} {:>9} {:>9}  {}",
        "NAME", "ID", "STATUS", "FORMAT", "SIZE", "STORED", "FROM"
    ))?;
    for image in document.get("images").and_then(Value::as_array).into_iter().flatten() {
        let from = image.get("source_url").and_then(Value::as_str).unwrap_or("upload");
        let reason = image.get("reason").and_then(Value::as_str).unwrap_or(from);
        line(&format!(
            "{:<24} {:<36} {:<8} {:<6} {:>9} {:>9}  {reason}",
            text(image, "name"),
            text(image, "id"),
            text(image, "status"),
            text(image, "format"),
            size(image.get("size")),
            size(image.get("stored_size")),
        ))?;
    }
    let space = |key: &str| size(document.get("space").and_then(|space| space.get(key)));
    line(&format!(
        "\n{} are used, {} by imports in progress, {} are free; {} more would be if it were needed.",
        space("used"),
        space("temporary"),
        space("free"),
        space("evictable")
    ))
}

/// The file's name without folder and ending.
fn stem(source: &str) -> anyhow::Result<String> {
    let path = source.split(['?', '#']).next().unwrap_or(source);
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
    stem.map(str::to_owned).context("give the image a --name")
}

async fn add(source: &str, checksum: &str, name: Option<&str>, socket: &Path) -> anyhow::Result<()> {
    let name = name.map_or_else(|| stem(source), |name| Ok(name.to_owned()))?;
    if source.contains("://") {
        return fetch(source, checksum, &name, socket).await;
    }
    let file = tokio::fs::File::open(source).await.with_context(|| format!("{source} cannot be read"))?;
    let length = file.metadata().await?;
    if !length.is_file() {
        bail!("{source} is no file");
    }
    let path = format!("{IMAGES}?name={}&checksum={}", escaped(&name), escaped(checksum));
    let content = local::Content::File(file, length.len());
    say(&local::send(socket, Method::POST, &path, content).await?)
}

async fn fetch(url: &str, checksum: &str, name: &str, socket: &Path) -> anyhow::Result<()> {
    let asked = json!({"url": url, "checksum": checksum, "name": name});
    let mut image = local::send(socket, Method::POST, IMAGES, local::Content::Json(asked)).await?;
    let path = format!("{IMAGES}/{}", escaped(text(&image, "id")));
    while text(&image, "status") == "queued" {
        tokio::time::sleep(LOOK_EVERY).await;
        image = local::get(socket, &path).await?;
    }
    say(&image)
}

async fn folder(socket: &Path) -> anyhow::Result<()> {
    let document = local::get(socket, FOLDER).await?;
    line(&format!("{:>9}  {:<20}  FILE", "SIZE", "WRITTEN"))?;
    for file in document.get("files").and_then(Value::as_array).into_iter().flatten() {
        let written = text(file, "modified").get(..19).unwrap_or("-");
        line(&format!("{:>9}  {written:<20}  {}", size(file.get("size")), text(file, "name")))?;
    }
    Ok(())
}

async fn import(wanted: &Import) -> anyhow::Result<()> {
    let Import { file, name, checksum, project, visibility, socket } = wanted;
    let asked = json!({
        "file": file, "name": name, "checksum": checksum, "project": project, "visibility": visibility,
    });
    let image = local::send(&socket.socket, Method::POST, FOLDER, local::Content::Json(asked)).await?;
    say(&image)?;
    line(&format!("{}, {}", text(&image, "checksum"), text(&image, "visibility")))
}

/// What came of it.
fn say(image: &Value) -> anyhow::Result<()> {
    if let Some(reason) = image.get("reason").and_then(Value::as_str) {
        bail!("{reason}");
    }
    line(&format!(
        "{} is ready: {}, a disk of {}, stored in {} (image {})",
        text(image, "name"),
        text(image, "format"),
        size(image.get("size")),
        size(image.get("stored_size")),
        text(image, "id")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_file_or_url() {
        assert_eq!(stem("/srv/debian-13.qcow2").expect("a name"), "debian-13");
        assert_eq!(stem("https://box/images/disk.raw?sig=/x.y").expect("a name"), "disk");
        assert!(stem("/").is_err());
    }

    #[test]
    fn sizes_are_for_people() {
        let shown = |bytes: u64| size(Some(&json!(bytes)));
        assert_eq!((shown(0), shown(1), shown(20 << 20)), ("0 KiB".into(), "1 KiB".into(), "20 MiB".into()));
        assert_eq!((shown(11 << 30), size(None)), ("11 GiB".into(), "-".into()));
    }
}

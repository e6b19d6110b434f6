//! The local commands about the audit: `audit list`, `audit export`, `audit verify`.

use crate::show::{line, text};
use crate::{SocketArgument, local};
use anyhow::{Context, bail};
use clap::Subcommand;
use leasehold_api::url::escaped;
use leasehold_store::audit::chain::{Link, Verifier};
use serde_json::Value;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

const AUDIT: &str = "/appliance/v1/audit";
/// How an exported file begins; the number and link of the last entry before it follow.
const HEADING: &str = "leasehold-audit 1";

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// The newest entries: who did, or tried, what.
    List {
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Only of this user: name or id.
        #[arg(long)]
        actor: Option<String>,
        /// Only commands that begin so, such as provision.
        #[arg(long)]
        what: Option<String>,
        /// Only about the thing with this id.
        #[arg(long)]
        subject: Option<String>,
        /// Only what was refused.
        #[arg(long)]
        refused: bool,
        /// Only from this moment on, such as 2026-11-24T00:00:00Z.
        #[arg(long)]
        since: Option<jiff::Timestamp>,
        #[command(flatten)]
        socket: SocketArgument,
        /// One JSON document a line, with what was before and after.
        #[arg(long)]
        json: bool,
    },
    /// Write all entries to standard output, oldest first: number, link and entry, to be kept elsewhere.
    Export {
        /// Only entries after this number, for what was not yet exported.
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        socket: SocketArgument,
    },
    /// Follow the chain of hashes and say whether entries were altered, removed or moved.
    Verify {
        /// An exported file; without it, the audit of the running appliance.
        file: Option<PathBuf>,
        /// An entry's number and link as they were noted elsewhere, NUMBER:LINK.
        #[arg(long)]
        noted: Option<String>,
        #[command(flatten)]
        socket: SocketArgument,
    },
}

/// Runs a command about the audit.
pub(crate) fn main(command: &AuditCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            AuditCommand::List { limit, actor, what, subject, refused, since, socket, json } => {
                let since = since.map(|since| since.to_string());
                let mut filter = String::new();
                for (name, value) in [("actor", actor), ("what", what), ("subject", subject), ("since", &since)] {
                    if let Some(value) = value {
                        filter.push_str(&format!("&{name}={}", escaped(value)));
                    }
                }
                filter.push_str(if *refused { "&refused=true" } else { "" });
                list(&socket.socket, *limit, &filter, *json).await
            }
            AuditCommand::Export { after, socket } => export(&socket.socket, *after).await,
            AuditCommand::Verify { file, noted, socket } => {
                let noted = noted.as_deref().map(read_noted).transpose()?;
                match file {
                    Some(file) => verify_file(file, noted),
                    None => verify(&socket.socket, noted).await,
                }
            }
        }
    })
}

fn rows<'a>(document: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    document.get(key).and_then(Value::as_array).into_iter().flatten()
}

async fn list(socket: &Path, limit: usize, filter: &str, json: bool) -> anyhow::Result<()> {
    let mut left = limit;
    let mut before = String::new();
    while left > 0 {
        let page = local::get(socket, &format!("{AUDIT}?limit={}{filter}{before}", left.min(1000))).await?;
        for entry in rows(&page, "entries").take(left) {
            left -= 1;
            if json { line(&entry.to_string())? } else { tell(entry)? }
        }
        match page.get("before").and_then(Value::as_u64) {
            Some(number) => before = format!("&before={number}"),
            None => break,
        }
    }
    Ok(())
}

fn tell(entry: &Value) -> anyhow::Result<()> {
    let refused = entry.get("outcome").and_then(|outcome| outcome.get("refused"));
    let outcome = match refused {
        None => "done".to_owned(),
        Some(refused) => {
            let times = refused.get("count").and_then(Value::as_u64).unwrap_or(1);
            let times =
                if times > 1 { format!(", {times} times since {}", text(refused, "since")) } else { String::new() };
            format!("refused{times}: {}", text(refused, "reason"))
        }
    };
    let from = entry.get("address").and_then(Value::as_str).map(|from| format!(" from {from}")).unwrap_or_default();
    line(&format!(
        "{} {}{from} ({}): {} {}: {outcome}",
        text(entry, "at"),
        text(entry, "actor"),
        text(entry, "scope"),
        text(entry, "what"),
        text(entry, "subject")
    ))?;
    for (thing, fields) in entry.get("change").and_then(Value::as_object).into_iter().flatten() {
        match fields.as_object() {
            Some(fields) => {
                for (field, sides) in fields {
                    let side = |at: usize| sides.get(at).map_or_else(|| "-".to_owned(), ToString::to_string);
                    line(&format!("    {thing}: {field}: {} -> {}", side(0), side(1)))?;
                }
            }
            None => line(&format!("    {thing}: {fields}"))?,
        }
    }
    Ok(())
}

async fn export(socket: &Path, mut after: u64) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut begun = false;
    loop {
        let page = local::get(socket, &format!("{AUDIT}/export?after={after}")).await?;
        if !begun {
            begun = true;
            let removed = page.get("removed").and_then(Value::as_u64).unwrap_or(0);
            // In the middle of the chain it begins after a link that only the earlier export tells.
            if after <= removed {
                writeln!(out, "{HEADING} {removed} {}", text(&page, "anchor"))?;
            } else {
                writeln!(out, "{HEADING} {after} -")?;
            }
        }
        let mut last = None;
        for row in rows(&page, "rows") {
            last = row.get("number").and_then(Value::as_u64);
            writeln!(out, "{} {} {}", last.unwrap_or(0), text(row, "link"), text(row, "text"))?;
        }
        match last {
            Some(number) => after = number,
            None => return Ok(out.flush()?),
        }
    }
}

fn read_link(text: &str) -> anyhow::Result<Link> {
    let mut link = [0; 32];
    hex::decode_to_slice(text, &mut link).context("a link has 64 hexadecimal digits")?;
    Ok(link)
}

fn read_noted(text: &str) -> anyhow::Result<(u64, Link)> {
    let (number, link) = text.split_once(':').context("write NUMBER:LINK, as `audit verify` shows it")?;
    Ok((number.parse().context("the number before the colon")?, read_link(link)?))
}

async fn verify(socket: &Path, noted: Option<(u64, Link)>) -> anyhow::Result<()> {
    let query = noted.map(|(number, link)| format!("?number={number}&link={}", hex::encode(link))).unwrap_or_default();
    let found = local::get(socket, &format!("{AUDIT}/verify{query}")).await?;
    let number = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or(0);
    let faults: Vec<&str> = rows(&found, "faults").filter_map(Value::as_str).collect();
    conclude(number("removed"), number("count"), number("last"), text(&found, "head"), &faults)
}

fn conclude(removed: u64, count: u64, last: u64, head: &str, faults: &[&str]) -> anyhow::Result<()> {
    for fault in faults {
        line(fault)?;
    }
    if !faults.is_empty() {
        bail!("the audit is not as it was written");
    }
    if removed > 0 {
        line(&format!("entries 1 to {removed} were removed by age or size, or are in an earlier file"))?;
    }
    line(&format!("{count} entries up to {last}: none altered, missing or moved"))?;
    line(&format!("keep this elsewhere, for --noted later: {last}:{head}"))
}

fn verify_file(path: &Path, noted: Option<(u64, Link)>) -> anyhow::Result<()> {
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let found = follow(std::io::BufReader::new(file), noted).with_context(|| path.display().to_string())?;
    let faults: Vec<&str> = found.faults.iter().map(String::as_str).collect();
    conclude(found.removed, found.count, found.last, &hex::encode(found.head), &faults)
}

struct Followed {
    removed: u64,
    count: u64,
    last: u64,
    head: Link,
    faults: Vec<String>,
}

/// Follows the chain of an exported file.
fn follow(mut file: impl BufRead, noted: Option<(u64, Link)>) -> anyhow::Result<Followed> {
    let mut heading = String::new();
    file.read_line(&mut heading)?;
    let rest = heading.strip_prefix(HEADING).context("this is no file of `leasehold audit export`")?;
    let (removed, anchor) = rest.trim().split_once(' ').context("the first line is not whole")?;
    let removed: u64 = removed.parse().context("the number in the first line")?;
    let mut anchor = if anchor == "-" { None } else { Some(read_link(anchor)?) };
    let mut verifier = anchor.map(|anchor| Verifier::after(removed, anchor));
    let mut agrees = noted.filter(|(number, _)| *number == removed).map(|(_, link)| anchor == Some(link));
    for (at, row) in file.lines().enumerate() {
        let row = row?;
        let wrong = || format!("line {} is not a number, a link and an entry", at + 2);
        let (number, rest) = row.split_once(' ').with_context(wrong)?;
        let (link, entry) = rest.split_once(' ').with_context(wrong)?;
        let (number, link) = (number.parse().ok().with_context(wrong)?, read_link(link).with_context(wrong)?);
        match &mut verifier {
            Some(verifier) => verifier.take(number, &link, entry.as_bytes()),
            // The first entry of a later file hangs on a link that is not in it.
            None => {
                anchor = Some(link);
                verifier = Some(Verifier::after(number, link));
            }
        }
        if let Some((_, expected)) = noted.filter(|(wanted, _)| *wanted == number) {
            agrees = Some(expected == link);
        }
    }
    let verifier = verifier.unwrap_or_else(|| Verifier::after(removed, anchor.unwrap_or_default()));
    let ((last, head), count) = (verifier.head(), verifier.count());
    let mut faults: Vec<String> = verifier.faults().iter().map(ToString::to_string).collect();
    match (noted, agrees) {
        (Some((number, _)), Some(false)) => {
            faults.push(format!("the link of entry {number} is not the one that was noted"))
        }
        (Some((number, _)), None) => faults.push(format!("entry {number}, whose link was noted, is not in the file")),
        _ => {}
    }
    Ok(Followed { removed, count, last, head, faults })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_store::audit::chain::{START, link};
    use proptest::prelude::*;

    fn exported(entries: &[&str]) -> (String, Link) {
        let mut head = START;
        let mut file = format!("{HEADING} 0 {}\n", hex::encode(START));
        for (entry, number) in entries.iter().zip(1..) {
            head = link(&head, number, entry.as_bytes());
            file.push_str(&format!("{number} {} {entry}\n", hex::encode(head)));
        }
        (file, head)
    }

    #[test]
    fn an_exported_file_is_followed_and_its_faults_are_found() {
        let (file, head) = exported(&["{\"a\":1}", "{\"a\": \"b c\"}", "{}"]);
        let whole = follow(file.as_bytes(), Some((3, head))).expect("followed");
        assert_eq!((whole.count, whole.last, whole.head, whole.faults.len()), (3, 3, head, 0));
        let altered = follow(file.replace("b c", "b d").as_bytes(), None).expect("followed");
        assert_eq!(altered.faults, ["entry 2, or its link, was altered, or another entry was put in its place"]);
        let without: String =
            file.lines().filter(|line| !line.starts_with("2 ")).map(|line| format!("{line}\n")).collect();
        assert_eq!(follow(without.as_bytes(), None).expect("followed").faults, ["the entries 2 to 2 are missing"]);
        let mut lines: Vec<&str> = file.lines().collect();
        lines.swap(2, 3);
        let moved = follow(lines.join("\n").as_bytes(), None).expect("followed").faults;
        assert_eq!(moved, ["the entries 2 to 2 are missing", "entry 2 stands after entry 3"]);
        let cut: String = file.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(follow(cut.as_bytes(), Some((3, head))).expect("followed").faults.len(), 1);
        assert!(follow("something\n".as_bytes(), None).is_err());
    }

    #[test]
    fn a_later_file_begins_in_the_middle() {
        let (file, head) = exported(&["{}", "{}", "{}"]);
        let later: String = std::iter::once(format!("{HEADING} 1 -"))
            .chain(file.lines().skip(2).map(str::to_owned))
            .map(|line| line + "\n")
            .collect();
        let found = follow(later.as_bytes(), Some((3, head))).expect("followed");
        assert_eq!((found.last, found.head, found.faults.len()), (3, head, 0));
    }

    proptest! {
        #[test]
        fn any_file_is_followed_or_refused(text in "[^\\x00]{0,80}", rest in "([0-9]{1,2} [0-9a-f]{64} [a-z{}]{0,4}\n){0,3}") {
            let _either_is_fine = follow(text.as_bytes(), None);
            let _either_is_fine = follow(format!("{HEADING} 0 -\n{rest}").as_bytes(), None);
        }
    }
}

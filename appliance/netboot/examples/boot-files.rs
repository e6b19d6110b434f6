//! Serves a boot file tree by TFTP and HTTP and prints every boot-trace event: a hand tool for trying firmware, other
//! clients and load generators against these servers without the rest of the appliance.
//!
//!     boot-files FOLDER TFTP_ADDRESS:PORT HTTP_ADDRESS:PORT
//!
//! FOLDER holds a `manifest.json`. Events go to standard output until the program is interrupted.
#![expect(clippy::print_stdout, reason = "printing is what this tool is for")]

use leasehold_netboot::files::BootFiles;
use leasehold_netboot::http::{BootSite, HttpLimits, ScriptAnswer, ScriptRequest, ScriptSource, serve};
use leasehold_netboot::tftp::{Listen, TftpConfig, TftpServer};
use leasehold_netboot::trace::TraceSink;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A script that shows on the machine's screen what it asked with.
struct Echo;

impl ScriptSource for Echo {
    fn script(&self, request: &ScriptRequest) -> ScriptAnswer {
        ScriptAnswer::Script(format!("#!ipxe\necho {request:?}\nshell\n"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, tftp, http] = arguments.as_slice() else {
        return Err("three arguments: FOLDER TFTP_ADDRESS:PORT HTTP_ADDRESS:PORT".into());
    };
    let trace: TraceSink = Arc::new(|event| println!("{event:?}"));
    let files = Arc::new(BootFiles::open(Path::new(folder))?);
    let config = TftpConfig::new(vec![Listen { address: tftp.parse()?, interface: None }]);
    let server = TftpServer::start(&config, Arc::clone(&files), Arc::clone(&trace))?;
    let listener = TcpListener::bind(http).await?;
    println!("TFTP on {:?}, HTTP on {}", server.addresses(), listener.local_addr()?);
    let site = BootSite { files, scripts: Arc::new(Echo), trace, limits: HttpLimits::default() };
    let stopped = serve(listener, Arc::new(site)).await;
    Err(stopped.err().map_or_else(|| "the HTTP server ended".into(), Into::into))
}

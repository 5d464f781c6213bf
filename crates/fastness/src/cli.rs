//! `fastness cli`: the arguments of the command line client, and where they lead: addresses, TLS files, the password.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, Args};
use fastness_cli::{
    Access, Address, ClientOptions, Credentials, Mode, Output, ProtocolChoice, Repeat, Success, Tls, TlsFiles,
};
use fastness_server::resp_server::command::table;

use crate::dev;
use places::Places;

mod places;

/// Examples for the help.
pub const EXAMPLES: &str = "\
Examples:
  fastness cli --dir .fastness-dev                       a prompt; Tab completes, HELP explains
  fastness cli -p 7400 SET token:42 paid                 one command; exit status 1 if it is answered with an error
  fastness cli -p 7400 --json HGETALL cart:7 | jq .
  fastness cli -h db-1 -p 6379 --tls --cacert ca.crt --user app INFO replication
  fastness cli --dir .fastness-dev --pipe < commands.txt RESP or one command per line, to all shards

The password comes from FASTNESS_PASSWORD, --pass-file or -a. Every command line of this machine can be read by others
while the process runs, so -a is for passwords that are none. Nothing prints a password.

Exit status: 0; 1 if a command was answered with an error, was not answered, or could not be sent; 2 if the arguments are
wrong. An error reply to a single command goes to standard error, with --json to standard output as {\"error\": …}.

Lines of the prompt are kept in ~/.fastness_cli_history, which only you can read, or in the file that
FASTNESS_CLI_HISTORY names (empty: nowhere). Lines that contain passwords or rules of users are not kept, nor are lines
that start with a blank.";

/// Port of a server whose port is not given.
const PORT: u16 = 6379;
/// Largest file with a password, bytes.
const PASSWORD_BYTES_MAX: usize = 4096;
/// Longest time between two runs of a command.
const INTERVAL_MAX_SECONDS: f64 = 86_400.0;

/// Arguments of the command. `-h` is the host, as in other clients of this protocol.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct CliArguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    user: UserArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    run: RunArguments,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The command to run, and its arguments; without it commands are read from the terminal, or line by line from
    /// standard input
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Where the nodes are.
#[derive(Debug, Args)]
struct PlaceArguments {
    /// Host of a node; the others are found through it [default: 127.0.0.1]
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,
    /// Port of a node, its TLS port with --tls [default: 6379]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Folder of a dev cluster, or of the lab in containers, instead of host and port [default without them:
    /// .fastness-dev, if it exists]
    #[arg(long, conflicts_with_all = ["host", "port", "cluster"])]
    dir: Option<PathBuf>,
    /// The cluster.json of such a folder
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "port"])]
    cluster: Option<PathBuf>,
    /// Follow redirections to other nodes; this is the default, and accepted for habit
    #[arg(short = 'c', conflicts_with = "no_redirects")]
    follow: bool,
    /// Show redirections (MOVED, ASK) instead of following them
    #[arg(long)]
    no_redirects: bool,
}

/// Who the user is, and what a connection is told first.
#[derive(Debug, Args)]
struct UserArguments {
    /// Password. Other users of this machine can see it; FASTNESS_PASSWORD or --pass-file hides it
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD", conflicts_with = "pass_file")]
    password: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE")]
    pass_file: Option<PathBuf>,
    /// User [default: default]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Do not warn about -a
    #[arg(long)]
    no_auth_warning: bool,
    /// Database
    #[arg(short = 'n', value_name = "N", default_value_t = 0, hide_default_value = true)]
    database: u32,
    /// Speak RESP2 [default with --raw and --csv]
    #[arg(short = '2', conflicts_with = "resp3")]
    resp2: bool,
    /// Speak RESP3, and fail if the server does not [default otherwise, if the server does]
    #[arg(short = '3')]
    resp3: bool,
}

/// TLS.
#[derive(Debug, Args)]
struct TlsArguments {
    /// Connect over TLS
    #[arg(long)]
    tls: bool,
    /// Certificates of trusted CAs [default: the cluster's with --dir, else what the system trusts]
    #[arg(long, alias = "ca", value_name = "FILE", requires = "tls")]
    cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of the client certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Name that the certificates of all nodes must have, instead of the host that is connected to
    #[arg(long, value_name = "NAME", requires = "tls")]
    sni: Option<String>,
    /// Accept any certificate: whoever is in between can read and change everything
    #[arg(long, requires = "tls")]
    insecure: bool,
}

/// How replies are shown.
#[derive(Debug, Args)]
struct OutputArguments {
    /// Print replies as they are [default unless standard output is a terminal]
    #[arg(long, group = "form")]
    raw: bool,
    /// Print replies for people, also into a pipe
    #[arg(long, group = "form")]
    no_raw: bool,
    /// Print each reply as one line of comma-separated values
    #[arg(long, group = "form")]
    csv: bool,
    /// Print each reply as one line of JSON
    #[arg(long, group = "form")]
    json: bool,
}

/// What is run.
#[derive(Debug, Args)]
struct RunArguments {
    /// Run the command so often; -1: for ever
    #[arg(
        short = 'r',
        value_name = "TIMES",
        allow_negative_numbers = true,
        default_value_t = 1,
        hide_default_value = true
    )]
    repeat: i64,
    /// Seconds between two runs, such as 0.1
    #[arg(short = 'i', value_name = "SECONDS", value_parser = seconds, default_value = "0", hide_default_value = true)]
    interval: Duration,
    /// Read one more, last argument from standard input
    #[arg(short = 'x', requires = "command")]
    last_from_input: bool,
    /// Exit with status 1 if the command is answered with an error; this is the default, and accepted for habit
    #[arg(short = 'e')]
    exit_status: bool,
    /// Send the commands of standard input, RESP or one per line, over one pipeline per node, with a progress bar
    #[arg(long, conflicts_with_all = ["command", "repeat", "interval", "no_redirects"])]
    pipe: bool,
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse().with_context(|| format!("{text:?} is not a number of seconds"))?;
    ensure!((0.0..=INTERVAL_MAX_SECONDS).contains(&seconds), "it must be 0 to {INTERVAL_MAX_SECONDS} seconds");
    Ok(Duration::from_secs_f64(seconds))
}

/// Runs the client; returns the exit status.
pub async fn run(arguments: CliArguments) -> Result<u8> {
    let options = options(arguments)?;
    match fastness_cli::run(table(), options).await {
        Ok(Success::All) => Ok(0),
        Ok(Success::NotAll) => Ok(1),
        // Whoever reads the output has seen enough.
        Err(fastness_cli::CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(1),
        Err(error) => Err(error.into()),
    }
}

fn options(arguments: CliArguments) -> Result<ClientOptions> {
    let CliArguments { place, user, tls, output, run, command, .. } = arguments;
    let follows = !place.no_redirects;
    let places = places(&place, tls.tls)?;
    let output = form(&output);
    let protocol = match (user.resp2, user.resp3, output) {
        (true, _, _) => ProtocolChoice::Resp2,
        (_, true, _) => ProtocolChoice::Resp3,
        (_, _, Output::Human | Output::Json) => ProtocolChoice::Resp3IfServed,
        (_, _, Output::Raw | Output::Csv) => ProtocolChoice::Resp2,
    };
    let access = Access {
        tls: tls.tls.then(|| load_tls(tls, places.ca)).transpose()?,
        credentials: credentials(&user, places.password)?,
        protocol,
        database: user.database,
    };
    Ok(ClientOptions { nodes: places.nodes, access, follows, output, mode: mode(&run, command)? })
}

fn places(place: &PlaceArguments, tls: bool) -> Result<Places> {
    if let Some(dir) = &place.dir {
        return Places::of_folder(dir, tls);
    }
    if let Some(file) = &place.cluster {
        return Places::of_file(file, tls);
    }
    let has_address = place.host.is_some() || place.port.is_some();
    if !has_address && Path::new(dev::DIR).join("cluster.json").is_file() {
        return Places::of_folder(Path::new(dev::DIR), tls);
    }
    let host = place.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
    Ok(Places::at(Address::new(host, place.port.unwrap_or(PORT))))
}

fn load_tls(arguments: TlsArguments, ca: Option<PathBuf>) -> Result<Tls> {
    let TlsArguments { cacert, cert, key, sni, insecure, .. } = arguments;
    if insecure {
        eprintln!("warning: --insecure accepts any certificate, also that of an impostor");
    }
    Ok(Tls::load(&TlsFiles { ca: cacert.or(ca), certificate: cert, key, server_name: sni, insecure })?)
}

/// The user: the password from the arguments, the environment, or the folder of a lab.
fn credentials(user: &UserArguments, known: Option<String>) -> Result<Option<Credentials>> {
    if user.password.is_some() && !user.no_auth_warning {
        eprintln!("warning: other users of this machine can see a password that is given with -a");
    }
    let password = match (&user.password, &user.pass_file) {
        (Some(password), _) => Some(password.clone().into_bytes()),
        (None, Some(file)) => Some(password_of(file)?),
        // Not an option of clap, whose help could print it.
        (None, None) => std::env::var_os("FASTNESS_PASSWORD")
            .filter(|password| !password.is_empty())
            .map(OsStringExt::into_vec)
            .or(known.map(String::into_bytes)),
    };
    match password {
        Some(password) => Ok(Some(Credentials { user: user.user.clone().map(String::into_bytes), password })),
        None if user.user.is_some() => {
            bail!("--user needs a password: set FASTNESS_PASSWORD, or give --pass-file or -a")
        }
        None => Ok(None),
    }
}

fn password_of(file: &Path) -> Result<Vec<u8>> {
    let mut password = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(password.len() <= PASSWORD_BYTES_MAX, "{} is no file with a password: it is too long", file.display());
    if password.ends_with(b"\n") {
        password.pop();
    }
    if password.ends_with(b"\r") {
        password.pop();
    }
    ensure!(!password.is_empty(), "{} is empty", file.display());
    Ok(password)
}

fn form(output: &OutputArguments) -> Output {
    match output {
        OutputArguments { json: true, .. } => Output::Json,
        OutputArguments { csv: true, .. } => Output::Csv,
        OutputArguments { raw: true, .. } => Output::Raw,
        OutputArguments { no_raw: true, .. } => Output::Human,
        _ if std::io::stdout().is_terminal() => Output::Human,
        _ => Output::Raw,
    }
}

fn mode(run: &RunArguments, command: Vec<OsString>) -> Result<Mode> {
    if run.pipe {
        return Ok(Mode::Pipe);
    }
    if command.is_empty() {
        return Ok(Mode::Lines { history: history() });
    }
    let count = match run.repeat {
        -1 => None,
        count => Some(u64::try_from(count).context("-r must be -1 or more")?),
    };
    let command = command.into_iter().map(OsStringExt::into_vec).collect();
    let repeat = Repeat { count, interval: run.interval };
    Ok(Mode::One { command, is_last_from_input: run.last_from_input, repeat })
}

fn history() -> Option<PathBuf> {
    match std::env::var_os("FASTNESS_CLI_HISTORY") {
        Some(path) => Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()),
        None => std::env::home_dir().filter(|home| home.is_dir()).map(|home| home.join(".fastness_cli_history")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cli: CliArguments,
    }

    fn read(line: &str) -> Result<ClientOptions> {
        options(Line::try_parse_from(line.split(' '))?.cli)
    }

    fn refused(line: &str) -> String {
        read(line).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn arguments_of_other_clients_mean_the_same() {
        let options = read("cli -h db-1 -p 7400 -c -n 2 -3 --csv -r 5 -i 0.5 SET a -1 --json").unwrap();
        assert_eq!(options.nodes, [Address::new("db-1", 7400)]);
        assert!(options.follows && options.output == Output::Csv && options.access.database == 2);
        assert_eq!(options.access.protocol, ProtocolChoice::Resp3);
        let Mode::One { command, is_last_from_input: false, repeat } = options.mode else { panic!() };
        assert_eq!(command, [&b"SET"[..], b"a", b"-1", b"--json"]);
        assert_eq!((repeat.count, repeat.interval), (Some(5), Duration::from_millis(500)));
        assert!(matches!(
            read("cli -p 1 -r -1 PING").unwrap().mode,
            Mode::One { repeat: Repeat { count: None, .. }, .. }
        ));
        assert!(matches!(read("cli -p 1 -x SET a").unwrap().mode, Mode::One { is_last_from_input: true, .. }));
        assert!(matches!(read("cli -p 1 --pipe").unwrap().mode, Mode::Pipe));
        assert!(!read("cli -p 1 --no-redirects GET a").unwrap().follows);
    }

    #[test]
    fn scripts_get_resp2_and_everybody_else_resp3() {
        let protocol = |line| read(line).unwrap().access.protocol;
        assert_eq!(protocol("cli -p 1 --json GET a"), ProtocolChoice::Resp3IfServed);
        assert_eq!(protocol("cli -p 1 --no-raw GET a"), ProtocolChoice::Resp3IfServed);
        assert_eq!(protocol("cli -p 1 --raw GET a"), ProtocolChoice::Resp2);
        assert_eq!(protocol("cli -p 1 -2 --json GET a"), ProtocolChoice::Resp2);
    }

    #[test]
    fn the_password_is_found_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "secret\r\n").unwrap();
        let path = file.display();
        let options = read(&format!("cli -p 1 --user alice --pass-file {path} GET a")).unwrap();
        let credentials = options.access.credentials.unwrap();
        assert_eq!((credentials.user, credentials.password), (Some(b"alice".to_vec()), b"secret".to_vec()));
        let given = read("cli -p 1 --no-auth-warning -a secret GET a").unwrap().access.credentials.unwrap();
        assert_eq!(given, Credentials { user: None, password: b"secret".to_vec() });
        assert!(!format!("{given:?}").contains("secret"));
        std::fs::write(&file, "\n").unwrap();
        assert!(refused(&format!("cli -p 1 --pass-file {path} GET a")).contains("is empty"));
        assert!(refused("cli -p 1 --pass-file /nonexistent/x GET a").contains("cannot read"));
        assert!(refused("cli -p 1 --user alice GET a").contains("--user needs a password"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "cli -p 1 --cacert ca.crt GET a",
            "cli -p 1 --tls --cert c.crt GET a",
            "cli -p 1 --json --csv GET a",
            "cli -p 1 -2 -3 GET a",
            "cli -p 1 -x",
            "cli -p 1 --pipe GET a",
            "cli -p 1 --dir x GET a",
            "cli -p 1 -r -2 GET a",
            "cli -p 1 -i -1 GET a",
            "cli -p 1 -i x GET a",
            "cli -p 1 --dir x --cluster y GET a",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        assert!(refused("cli -p 1 --tls --cacert /nonexistent/ca GET a").contains("/nonexistent/ca"));
        assert!(refused("cli --dir /nonexistent GET a").contains("/nonexistent"));
    }
}

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use crate::tools::model::fetch::HUB;
use crate::tools::model::store::Sha256Hex;

/// Phone calls become lead cards: who called, what was said, and a short summary.
#[derive(Debug, Parser)]
#[command(name = "callfold", version, about, long_about = None, max_term_width = 110)]
#[command(after_help = "Settings come from the environment (README.md lists them); flags go before them.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process, with a broker and a database of its own.
    ///
    /// Needs no account and no running server: starts nats-server as a child with its store in the data folder, folds
    /// into SQLite, keeps audio in a folder. Prints `ready http://…` and a one-time sign-in link. Ctrl-C stops everything.
    Up(UpArgs),
    /// Run the webhook gateway alone: Twilio's webhooks become events.
    Gateway(RoleArgs),
    /// Run the downloader alone: recordings are fetched from Twilio.
    Downloader(RoleArgs),
    /// Run the transcriber alone: speech becomes text.
    Transcriber(RoleArgs),
    /// Run the summarizer alone: text becomes a headline and points.
    Summarizer(RoleArgs),
    /// Run the projector alone: events become the lead table.
    Projector(RoleArgs),
    /// Run the query API and the page alone.
    Api(RoleArgs),
    /// Run the reconciler alone: what never arrived is noticed.
    Reconciler(RoleArgs),
    /// Run the notifier alone: people are told of new leads by e-mail and push messages.
    Notifier(RoleArgs),
    /// Play Twilio: calls that leave messages, over HTTP, with a table of times at the end.
    ///
    /// Posts the voice webhook, obeys the TwiML that comes back, serves the recording behind Basic auth and sends the
    /// callbacks in Twilio's order. The running callfold must allow the media host:
    /// CALLFOLD_RECORDING_HOSTS=127.0.0.1:5001
    Simulate(Box<SimulateArgs>),
    /// Print the events of the stream, one JSON object a line.
    Events(EventsArgs),
    /// Tell the story of one call in plain words.
    Explain(ExplainArgs),
    /// Fold all leads anew from the stream while the old ones serve, compare, and switch.
    ///
    /// The running projector does it; this command shows how far it is, and may be broken off. When the same fold has made
    /// other leads than those that serve, the old ones go on serving (exit code 1).
    Rebuild(RebuildArgs),
    /// Run stages again over many calls, a campaign: counted and estimated first, at a rate, paused and resumed at will.
    ///
    /// `callfold reprocess --from transcribe --since 2026-11-01 --engine google --hold`, then `callfold reprocess list`. What was
    /// there stays: results are a run of their own. They replace what is shown, or with --hold wait for `callfold adopt`.
    Reprocess(Box<ReprocessArgs>),
    /// Choose by a rule which run of a campaign's calls is shown, or take that back.
    Adopt(AdoptArgs),
    /// Print how far engines are from what people heard: word error rates over corrected transcripts.
    Accuracy(AccuracyArgs),
    /// Write the whole history, or what is kept of one number, into a folder: events with checksums, and recordings.
    ///
    /// The system may run meanwhile; the archive is of the moment when the export began. Broken off, or run again later,
    /// an export of everything goes on where it ended, so it serves as a backup. Personal data.
    Export(ExportArgs),
    /// Put an archive into an empty installation; one that was broken off goes on.
    ///
    /// Nothing may be running. The archive is checked as a whole before anything is written. Calls that were erased, by
    /// what the archive or the installation says, are left out.
    Import(ImportArgs),
    /// Read everything and say what is not as it should be: events, gaps, recordings, rows. Exit code 1 on a finding.
    Verify(VerifyArgs),
    /// Compare a period of Twilio's lists of calls and recordings with the stream, and publish what is missing.
    ///
    /// The reconciler does so at start, after an outage of the broker, and every CALLFOLD_RECONCILE_EVERY_SECS; this is for
    /// longer periods. Needs TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN. Giving it again is harmless.
    Reconcile(ReconcileArgs),
    /// Erase calls: their events, leads and audio, and the recordings at Twilio; with --prove, show that nothing is left.
    ///
    /// The calls are hidden at once; the running reconciler deletes, and goes on by itself when this command is stopped.
    /// With --prove everything that is kept is searched: the stream, a rebuild of the leads, the lead table, the names of
    /// the recordings, and the files of the data folder. Exit code 1 when something is left.
    Erase(EraseArgs),
    /// Speech models: which there are, fetch one, choose the one to use.
    ///
    /// For real calls: `callfold model fetch ivrit-turbo && callfold model use ivrit-turbo`, and `callfold model fetch vad`.
    /// They are kept in `models` of the data folder. A running transcriber takes a change up within seconds.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Who works here: add people, change roles and passwords, give sign-in links.
    ///
    /// `callfold user add Dana --role owner` first, then `callfold user add Noam`. The running system takes changes up at
    /// once. Passwords come from standard input or a prompt, never from an argument.
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens for programs: what each may do, and when it was last used.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check every setting and dependency, and say what to do about what is wrong.
    Doctor(DoctorArgs),
    /// Ask a running process whether it can do its work: exit code 0 when /readyz answers 200.
    Health(HealthArgs),
}

/// Where the data of one installation lives.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The folder with everything that is kept.
    #[arg(long, env = "CALLFOLD_DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// `up`
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The data folder.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where webhooks, API and page are served. An address other than loopback needs TWILIO_AUTH_TOKEN.
    #[arg(
        long,
        env = "CALLFOLD_LISTEN",
        default_value = "127.0.0.1:5000",
        value_name = "ADDR"
    )]
    pub listen: SocketAddr,
    /// Play one demonstration call when the data folder is new, and print its card.
    #[arg(long)]
    pub demo: bool,
    /// The port from which the demonstration's recording is served.
    #[arg(long, default_value_t = crate::simulate::MEDIA_PORT, value_name = "PORT")]
    pub media_port: u16,
}

/// One role.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Where health and metrics, and what the role itself serves, are served.
    #[arg(
        long,
        env = "CALLFOLD_LISTEN",
        default_value = "127.0.0.1:5000",
        value_name = "ADDR"
    )]
    pub listen: SocketAddr,
    /// The data folder, for what has no setting of its own (SQLite, recordings, models).
    #[command(flatten)]
    pub data: DataArgs,
}

/// `user`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add somebody. Asks for a password; with --no-password they sign in by links.
    Add {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// The name, as it stands on cards and in events.
        name: String,
        /// viewer reads; agent acts on leads; owner erases, exports and manages people. The first one has to be an owner.
        #[arg(long, default_value = "agent", value_name = "ROLE")]
        role: String,
        /// Without a password: sign-in by links only.
        #[arg(long)]
        no_password: bool,
    },
    /// Print who there is: name, role, how they sign in, open sign-ins.
    List(ListArgs),
    /// Give somebody another role: viewer, agent or owner.
    Role {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// The name.
        name: String,
        /// The role.
        role: String,
    },
    /// Give somebody a new password, and end their sign-ins.
    Password {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// The name.
        name: String,
    },
    /// Remove somebody, and end their sign-ins. What they did keeps their name.
    Remove {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// The name.
        name: String,
    },
    /// Print a sign-in link, good once within 15 minutes.
    Link {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// For whom. Without a name: for whoever looks after the installation, while there is no owner.
        name: Option<String>,
    },
}

/// `token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once.
    Add {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// What it is for; stands in events.
        name: String,
        /// read; write: acts on leads, too; erase: erases and exports, too.
        #[arg(long, default_value = "read", value_name = "SCOPE")]
        scope: String,
    },
    /// Print the tokens: name, scope, when they were made and last used.
    List(ListArgs),
    /// End a token.
    Revoke {
        /// The data folder, whose run.json tells where the running system is.
        #[command(flatten)]
        data: DataArgs,
        /// The name.
        name: String,
    },
}

/// How to reach a running callfold.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where callfold is served, instead of what run.json says.
    #[arg(long, value_name = "URL")]
    pub url: Option<Url>,
}

/// `simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// How to reach callfold.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How many calls.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// How many calls begin in a second; without it one call follows another.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Wait until each card has come to an end.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait for the cards, in seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub patience: u64,
    /// Recordings to leave as messages (WAV or MP3), in turn; without them the demonstration messages.
    #[arg(long, value_name = "FILE")]
    pub recording: Vec<PathBuf>,
    /// The first caller; later ones count up. `anonymous` withholds it.
    #[arg(long, default_value = "+972501234567", value_name = "NUMBER")]
    pub from: String,
    /// The number that is called.
    #[arg(long, default_value = "+97239999999", value_name = "NUMBER")]
    pub to: String,
    /// Send each webhook so many times, as Twilio does when it is in doubt.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub repeat: u32,
    /// Hang up while the greeting is being spoken.
    #[arg(long)]
    pub hang_up_early: bool,
    /// Take the time that speaking takes.
    #[arg(long)]
    pub real_time: bool,
    /// The port of the media host; CALLFOLD_RECORDING_HOSTS of the running callfold must have 127.0.0.1:PORT.
    #[arg(long, default_value_t = crate::simulate::MEDIA_PORT, value_name = "PORT")]
    pub media_port: u16,
    /// Where the API is served, when it is not where the webhooks are.
    #[arg(long, value_name = "URL")]
    pub api_url: Option<Url>,
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// The first position.
    #[arg(long, default_value_t = 1, value_name = "POSITION")]
    pub from: u64,
    /// The last position; without it the end of the stream.
    #[arg(long, value_name = "POSITION", conflicts_with = "follow")]
    pub to: Option<u64>,
    /// Go on with events as they come, until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
    /// Events of this kind only.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// With what the events say: numbers, transcripts, media addresses. Personal data.
    #[arg(long)]
    pub data_too: bool,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// The call (CA…).
    pub call_sid: String,
}

/// `rebuild`
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Switch even when the same fold has made other leads.
    #[arg(long, conflicts_with = "drop_old")]
    pub accept_differences: bool,
    /// Only delete the leads that served before the last switch.
    #[arg(long)]
    pub drop_old: bool,
}

/// `reprocess`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReprocessArgs {
    /// What to do with campaigns that are there.
    #[command(subcommand)]
    pub command: Option<ReprocessCommand>,
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// The first stage that works again; the later ones follow.
    #[arg(long, value_name = "STAGE", value_parser = ["download", "transcribe", "summarize"])]
    pub from: Option<String>,
    /// Calls of this day or moment and later (2026-11-22, or RFC 3339).
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Calls before this moment, or of this day and before.
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// Calls to this number of ours, as it stands on the card.
    #[arg(long, value_name = "NUMBER")]
    pub number: Option<String>,
    /// Leads that are so: processed, failed, no_message, …; separated by commas.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<String>,
    /// The engine of the first stage that has engines; without it as the settings say.
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// The engine's model.
    #[arg(long, value_name = "NAME", requires = "engine")]
    pub model: Option<String>,
    /// What the model that summarises is told besides.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Why; stands in the story of each call.
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Hold the results for comparison instead of showing them.
    #[arg(long)]
    pub hold: bool,
    /// How many calls are asked for in a second, at most.
    #[arg(long, default_value_t = 2.0, value_name = "PER_SECOND")]
    pub rate: f64,
    /// Count and estimate only.
    #[arg(long)]
    pub only_count: bool,
}

/// What to do with campaigns.
#[derive(Debug, Subcommand)]
pub enum ReprocessCommand {
    /// Print all campaigns.
    List(CampaignsArgs),
    /// Print one campaign.
    Show(CampaignArgs),
    /// Ask for no further calls until it is resumed.
    Pause(CampaignArgs),
    /// Go on.
    Resume(CampaignArgs),
    /// Ask for no further calls, ever; what was asked for goes on.
    Abort(CampaignArgs),
}

/// All campaigns.
#[derive(Debug, Args)]
pub struct CampaignsArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
}

/// One campaign.
#[derive(Debug, Args)]
pub struct CampaignArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Its id (c…).
    pub id: String,
}

/// By which rule a run is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AdoptRule {
    /// Where it is nearer to what a person heard; other calls are left as they are.
    LowerWer,
    /// Where its transcript has more words.
    Longer,
    /// Wherever it is complete.
    Always,
    /// Back to the run that was shown before.
    Revert,
}

/// `adopt`
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// The campaign (c…).
    #[arg(long, value_name = "ID")]
    pub campaign: String,
    /// Which of its calls show its result from now on.
    #[arg(long, value_enum)]
    pub rule: AdoptRule,
    /// Count only.
    #[arg(long)]
    pub only_count: bool,
}

/// What word error rates are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccuracyBy {
    /// The engine.
    Engine,
    /// The engine and its model.
    Model,
    /// The number that was called, and the engine.
    Number,
    /// The month of the call, and the engine.
    Month,
}

/// `accuracy`
#[derive(Debug, Args)]
pub struct AccuracyArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Calls of this day or moment and later (2026-11-22, or RFC 3339).
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// What the rates are told by.
    #[arg(long, value_enum, default_value_t = AccuracyBy::Engine)]
    pub by: AccuracyBy,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Only the calls of this number: what is kept of one person.
    #[arg(long, value_name = "NUMBER")]
    pub phone: Option<String>,
    /// Only calls that began on this day or at this moment (RFC 3339), or later.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only calls that began on this day, or before this moment.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Where to write; made when it is not there.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The data folder to import into; made when it is not there.
    #[command(flatten)]
    pub data: DataArgs,
    /// Only check the archive.
    #[arg(long)]
    pub dry_run: bool,
    /// The archive.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Do not read the recordings: only the events and the table.
    #[arg(long)]
    pub no_recordings: bool,
    /// How many findings are printed; all are counted.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub findings_max: usize,
}

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// From this day (GMT) or moment (RFC 3339) on.
    #[arg(long, value_name = "TIME")]
    pub since: String,
    /// Before this day or moment; without it until now.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only tell what is missing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `erase`
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// The calls (CA…).
    #[arg(value_name = "CALL_SID")]
    pub call_sids: Vec<String>,
    /// All calls of this caller: +… exactly, digits by their end.
    #[arg(long, value_name = "NUMBER")]
    pub phone: Option<String>,
    /// The caller asked for it.
    #[arg(long)]
    pub request: bool,
    /// Do not wait until it is done.
    #[arg(long, conflicts_with_all = ["prove", "prove_only"])]
    pub no_wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub patience: u64,
    /// Then search everything that is kept for the calls, the number and each --text.
    #[arg(long)]
    pub prove: bool,
    /// Search, and erase nothing.
    #[arg(long)]
    pub prove_only: bool,
    /// A text that must not be found: a name, words of the message. May be given several times.
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
}

/// `model`
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Print the models with size, licence and state, and which one is in use and why.
    ///
    /// In use is the one that WHISPER_MODEL names (a path, or `demo`); else the one that `callfold model use` chose; else
    /// the largest in the folder; else the demonstration model, as long as TWILIO_AUTH_TOKEN is not set. Sizes with `~` are
    /// rounded.
    List(ListArgs),
    /// Fetch a model, or go on with a fetch that was broken off.
    ///
    /// The file is checked before it is there under its name: against --sha256, else against the hash that is built in,
    /// else against that of an earlier fetch, else against the one that the hub gives. Ctrl-C, a lost network and kill -9
    /// leave what has come; the same command goes on from there.
    Fetch(FetchArgs),
    /// Choose the model to use: a name of the list, a file in the folder for models, a path, or `demo`.
    ///
    /// The file is looked at first, and held against its hash when it was fetched. A running transcriber changes to it
    /// within seconds; recordings in hand keep the model they began with. WHISPER_MODEL, where it is set, goes before it.
    Use(UseArgs),
}

/// `model list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The data folder.
    #[command(flatten)]
    pub data: DataArgs,
    /// As one JSON object, with paths and hashes.
    #[arg(long)]
    pub json: bool,
}

/// `model fetch`
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The data folder.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which model: a name of `callfold model list`.
    pub name: String,
    /// The SHA-256 that the file has to have, whatever is known of it.
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<Sha256Hex>,
    /// Fetch it even when it is there.
    #[arg(long)]
    pub again: bool,
    /// Where to fetch from: a hub or a mirror with the same paths; https, or plain http on loopback.
    #[arg(long, env = "CALLFOLD_MODEL_HUB", default_value = HUB, value_name = "URL")]
    pub hub: Url,
}

/// `model use`
#[derive(Debug, Args)]
pub struct UseArgs {
    /// The data folder.
    #[command(flatten)]
    pub data: DataArgs,
    /// A name of `callfold model list`, a file in the folder for models, a path, or `demo`.
    #[arg(value_name = "NAME-or-PATH")]
    pub model: String,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The data folder, whose run.json tells where the running system is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where callfold would listen.
    #[arg(
        long,
        env = "CALLFOLD_LISTEN",
        default_value = "127.0.0.1:5000",
        value_name = "ADDR"
    )]
    pub listen: SocketAddr,
}

/// `health`
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the process listens.
    #[arg(
        long,
        env = "CALLFOLD_LISTEN",
        default_value = "127.0.0.1:5000",
        value_name = "ADDR"
    )]
    pub listen: SocketAddr,
}

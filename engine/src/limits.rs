//! What a sandbox may use up, and what it used.
//!
//! A limit is checked when it is set: a [`Limits`] that exists is sound. Some limits depend on how the engine meters,
//! so a builder comes from [`Engine::limits`](crate::Engine::limits).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::engine::Metering;

/// The memory that a component may gain beyond what it starts with, by default: 64 MiB.
///
/// A single bulk instruction is not interrupted, and this is as much as one can write within two ticks. Whoever is
/// allowed more runs on a thread of its own.
pub(crate) const DEFAULT_MEMORY_GROWTH: u64 = 64 << 20;

/// The memory that a component may start with unless a limit says otherwise: 256 MiB.
pub(crate) const DEFAULT_MEMORY_START: u64 = 256 << 20;

/// One of the limits of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitKind {
    /// WebAssembly instructions, roughly.
    Fuel,
    /// Milliseconds by the clock, whether the guest computes or waits.
    WallTime,
    /// Bytes in all memories and tables together.
    Memory,
    /// Bytes of native stack, a setting of the engine.
    Stack,
    /// Core instances that the component consists of.
    Instances,
    /// Bytes printed to standard output and standard error together.
    Output,
    /// Bytes of the result as component values.
    Result,
    /// Bytes copied between guest and host by one call, as component values.
    HostCallBytes,
    /// Random bytes asked for at once.
    Random,
    /// Handles held at once: open files, streams, timers.
    Resources,
    /// Events of a run.
    Events,
    /// Calls of tools in a whole tree of calls, of one tool or of all.
    Calls,
    /// Bytes of input to tools, as JSON, in a whole tree of calls.
    BytesIn,
    /// Bytes of results of tools, as JSON, in a whole tree of calls.
    BytesOut,
    /// Questions to people, in a whole tree of calls.
    Questions,
    /// How deep in a tree of calls.
    Depth,
    /// Calls asked for at once.
    FanOut,
    /// HTTP requests in a whole tree of calls.
    Requests,
    /// Chats with models in a whole tree of calls.
    Chats,
    /// Tokens of models in a whole tree of calls.
    Tokens,
    /// Cost of models in a whole tree of calls, in millionths of a US dollar.
    Cost,
    /// Bytes in the body of one HTTP request.
    RequestBytes,
    /// Bytes in the body of one HTTP response, decoded.
    ResponseBytes,
    /// HTTP exchanges of one sandbox at once.
    Connections,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fuel => "fuel",
            Self::WallTime => "wall-time",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Instances => "instances",
            Self::Output => "output",
            Self::Result => "result",
            Self::HostCallBytes => "host-call-bytes",
            Self::Random => "random",
            Self::Resources => "resources",
            Self::Events => "events",
            Self::Calls => "calls",
            Self::BytesIn => "bytes-in",
            Self::BytesOut => "bytes-out",
            Self::Questions => "questions",
            Self::Depth => "depth",
            Self::FanOut => "fan-out",
            Self::Requests => "requests",
            Self::Chats => "chats",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::RequestBytes => "request-bytes",
            Self::ResponseBytes => "response-bytes",
            Self::Connections => "connections",
        })
    }
}

/// A limit or budget that was reached. `used` and `max` are fuel, milliseconds, bytes or counts, as [`LimitKind`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the limit `{limit}` was reached: {used} of at most {max} {}", self.unit())]
#[non_exhaustive]
pub struct LimitExceeded {
    /// Which limit.
    pub limit: LimitKind,
    /// How much was used or asked for when it was reached; at least this much where the count ends there.
    pub used: u64,
    /// The most that was allowed.
    pub max: u64,
}

impl LimitExceeded {
    pub(crate) fn new(limit: LimitKind, used: u64, max: u64) -> Self {
        Self { limit, used, max }
    }

    fn unit(&self) -> &'static str {
        match self.limit {
            LimitKind::Fuel => "units",
            LimitKind::WallTime => "milliseconds",
            LimitKind::Instances => "core instances",
            LimitKind::Resources => "handles",
            LimitKind::Events => "events",
            LimitKind::Calls | LimitKind::FanOut => "calls",
            LimitKind::Questions => "questions",
            LimitKind::Depth => "levels",
            LimitKind::Requests => "requests",
            LimitKind::Chats => "chats",
            LimitKind::Tokens => "tokens",
            LimitKind::Cost => "millionths of a US dollar",
            LimitKind::Connections => "exchanges",
            _ => "bytes",
        }
    }
}

/// What happens when a guest prints more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExcess {
    /// What is too much is cut and flagged; the guest goes on and does not notice.
    #[default]
    Truncate,
    /// The guest is stopped: the outcome is [`LimitExceeded`] naming `output`.
    Fail,
}

/// How much one call may use. The defaults suit a tool: 10⁹ fuel, 30 s, 64 MiB beyond what the component starts with,
/// 1 MiB of output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub(crate) fuel: Option<u64>,
    pub(crate) wall_time: Duration,
    pub(crate) memory: Option<u64>,
    pub(crate) instances: u64,
    pub(crate) output: u64,
    pub(crate) on_excess: OnExcess,
    pub(crate) result: usize,
    pub(crate) host_call_bytes: usize,
    pub(crate) random: u64,
    pub(crate) resources: usize,
    pub(crate) events: u64,
    pub(crate) cpus: Option<f64>,
    #[cfg(feature = "http")]
    pub(crate) http: HttpLimits,
}

/// How much a sandbox may do over HTTP, by itself. What a tool does over HTTP has limits of the tool's own.
///
/// ```
/// use std::time::Duration;
///
/// use casemate::HttpLimits;
///
/// let limits = HttpLimits::default().response_bytes(1 << 20).idle(Duration::from_secs(5));
/// ```
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[must_use]
pub struct HttpLimits {
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) connect: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
    pub(crate) connections: u32,
}

/// 16 MiB out, 64 MiB in, 10 s to connect, 30 s without a byte, 5 min in all, 16 exchanges at once.
#[cfg(feature = "http")]
impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            request_bytes: 16 << 20,
            response_bytes: 64 << 20,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_mins(5),
            connections: 16,
        }
    }
}

#[cfg(feature = "http")]
impl HttpLimits {
    /// Bytes in the body of one request; default 16 MiB.
    pub fn request_bytes(mut self, bytes: u64) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// Bytes in the body of one response, decoded; default 64 MiB. The head has 64 KiB and 100 headers at most.
    pub fn response_bytes(mut self, bytes: u64) -> Self {
        self.response_bytes = bytes;
        self
    }

    /// How long one address has to take a connection; default 10 s.
    pub fn connect(mut self, time: Duration) -> Self {
        self.connect = time.min(LONGEST);
        self
    }

    /// How long a server may say nothing, before its response and within; default 30 s.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = time.min(LONGEST);
        self
    }

    /// How long one exchange may take from when its connection is looked for to the end of its response; default 5 min.
    /// Looking its host up and asking a person come before that.
    pub fn total(mut self, time: Duration) -> Self {
        self.total = time.min(LONGEST);
        self
    }

    /// Exchanges of one sandbox at once; one ends when its response was read or dropped. Default 16.
    pub fn connections(mut self, count: u32) -> Self {
        self.connections = count;
        self
    }
}

/// No wait is longer than that.
const LONGEST: Duration = Duration::from_hours(365 * 24);

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: None,
            wall_time: Duration::from_secs(30),
            memory: None,
            instances: 1_000,
            output: 1 << 20,
            on_excess: OnExcess::Truncate,
            result: 64 << 20,
            host_call_bytes: 128 << 20,
            random: 64 << 10,
            resources: 256,
            events: 50_000,
            cpus: None,
            #[cfg(feature = "http")]
            http: HttpLimits::default(),
        }
    }
}

impl Limits {
    /// Fuel for a call on an engine that meters fuel, unless set otherwise.
    pub(crate) const DEFAULT_FUEL: u64 = 1_000_000_000;

    pub(crate) fn check_metering(&self, metering: Metering) -> Result<(), InvalidLimit> {
        if self.fuel.is_some() && metering == Metering::Time { Err(InvalidLimit::FuelNotMetered) } else { Ok(()) }
    }
}

/// Sets limits one by one; what is not set keeps its default. Made by [`Engine::limits`](crate::Engine::limits).
#[derive(Clone, Debug)]
#[must_use]
pub struct LimitsBuilder {
    metering: Metering,
    limits: Limits,
}

impl LimitsBuilder {
    pub(crate) fn new(metering: Metering) -> Self {
        Self { metering, limits: Limits::default() }
    }

    /// Fuel: about one unit for each WebAssembly instruction, more for bulk memory. Default 10⁹.
    ///
    /// Fails on an engine that meters time only, and for zero.
    pub fn fuel(mut self, units: u64) -> Result<Self, InvalidLimit> {
        self.limits.fuel = Some(within("fuel", units, 1, u64::MAX)?);
        self.limits.check_metering(self.metering)?;
        Ok(self)
    }

    /// Time by the clock from the start of the sandbox to its result, also while the guest waits in a host call.
    /// From 1 ms to 365 days; default 30 s.
    pub fn wall_time(mut self, time: Duration) -> Result<Self, InvalidLimit> {
        within("wall-time", millis(time), 1, millis(LONGEST))?;
        self.limits.wall_time = time;
        Ok(self)
    }

    /// Bytes in all memories and tables of the sandbox together, those it starts with included. From 64 KiB to
    /// 64 GiB; the default is 64 MiB more than the component starts with, which may be 256 MiB.
    ///
    /// A guest that is allowed more than 64 MiB here runs on a thread of its own; without a limit set, one that starts
    /// with more than 16 MiB.
    pub fn memory(mut self, bytes: u64) -> Result<Self, InvalidLimit> {
        self.limits.memory = Some(within("memory", bytes, 64 << 10, 64 << 30)?);
        Ok(self)
    }

    /// Core instances that the component may consist of, from 1 to 10,000; default 1,000.
    pub fn instances(mut self, count: u64) -> Result<Self, InvalidLimit> {
        self.limits.instances = within("instances", count, 1, 10_000)?;
        Ok(self)
    }

    /// Bytes printed to standard output and standard error together, from 1 byte to 1 GiB, and what happens beyond.
    /// Default 1 MiB, truncated.
    pub fn output(mut self, bytes: u64, on_excess: OnExcess) -> Result<Self, InvalidLimit> {
        self.limits.output = within("output", bytes, 1, 1 << 30)?;
        self.limits.on_excess = on_excess;
        Ok(self)
    }

    /// Bytes of a result as component values, counted before it is copied out: 40 for each value and each byte of a
    /// `list<u8>`, and the bytes of its strings. From 40 bytes to 4 GiB; default 64 MiB.
    pub fn result(mut self, bytes: u64) -> Result<Self, InvalidLimit> {
        self.limits.result = size(within("result", bytes, 40, 4 << 30)?);
        Ok(self)
    }

    /// Bytes copied by one call between guest and host, counted like [`result`](Self::result); the input of the
    /// called function counts as one. From 1 KiB to 4 GiB; default 128 MiB.
    pub fn host_call_bytes(mut self, bytes: u64) -> Result<Self, InvalidLimit> {
        self.limits.host_call_bytes = size(within("host-call-bytes", bytes, 1 << 10, 4 << 30)?);
        Ok(self)
    }

    /// Random bytes in one call, from 1 byte to 64 MiB; default 64 KiB.
    pub fn random(mut self, bytes: u64) -> Result<Self, InvalidLimit> {
        self.limits.random = within("random", bytes, 1, 64 << 20)?;
        Ok(self)
    }

    /// Handles held at once, from 16 to 1,000,000; default 256, since open files count and a process has few.
    pub fn resources(mut self, count: u64) -> Result<Self, InvalidLimit> {
        self.limits.resources = size(within("resources", count, 16, 1_000_000)?);
        Ok(self)
    }

    /// Events of a run, after which its agent begins nothing more, from 100 to 10,000,000; default 50,000. Whoever goes
    /// on with a run reads them all. Outside of runs it means nothing.
    pub fn events(mut self, count: u64) -> Result<Self, InvalidLimit> {
        self.limits.events = within("events", count, 100, 10_000_000)?;
        Ok(self)
    }

    /// The share of one processor: 0.5 lets the guest compute half of the time. From 0.001 to 1; by default there
    /// is no throttle. Time in host calls is not the guest's.
    pub fn cpus(mut self, share: f64) -> Result<Self, InvalidLimit> {
        if !(0.001..=1.0).contains(&share) {
            return Err(InvalidLimit::Cpus { share });
        }
        self.limits.cpus = Some(share);
        Ok(self)
    }

    /// How much it may do over HTTP.
    #[cfg(feature = "http")]
    pub fn http(mut self, limits: HttpLimits) -> Self {
        self.limits.http = limits;
        self
    }

    /// The limits set so far.
    pub fn build(self) -> Limits {
        self.limits
    }
}

fn within(limit: &'static str, value: u64, min: u64, max: u64) -> Result<u64, InvalidLimit> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(InvalidLimit::OutOfRange { limit, value, min, max }) }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A limit that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// Zero, too small to run anything, or absurdly large.
    #[error("the limit `{limit}` cannot be {value}: it must be from {min} to {max}")]
    OutOfRange {
        /// The limit's name.
        limit: &'static str,
        /// What was given, in the limit's unit.
        value: u64,
        /// The smallest possible.
        min: u64,
        /// The largest possible.
        max: u64,
    },
    /// Not a share of a processor.
    #[error("the limit `cpus` cannot be {share}: it must be from 0.001 to 1")]
    Cpus {
        /// What was given.
        share: f64,
    },
    /// The engine does not count fuel.
    #[error(
        "the limit `fuel` cannot be kept: this engine meters time only; limit the wall time, or build the engine with `Metering::Fuel`"
    )]
    FuelNotMetered,
}

/// What one call used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Fuel spent, where the engine meters it; after a trap at least this much.
    pub fuel: Option<u64>,
    /// The most bytes that all memories and tables held together.
    #[serde(rename = "peak_memory_bytes")]
    pub peak_memory: u64,
    /// How often a memory or table was refused to grow.
    pub refused_growths: u64,
    /// From the start of the sandbox to its end, by the clock.
    #[serde(rename = "wall_time_us", serialize_with = "as_micros")]
    pub wall_time: Duration,
    /// Bytes printed to standard output, those cut included.
    pub stdout_bytes: u64,
    /// Bytes printed to standard error, those cut included.
    pub stderr_bytes: u64,
}

fn as_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

//! Casemate through its public API, with real guests.
//!
//! | module | what belongs in it |
//! | --- | --- |
//! | `support` | the harness: shared engines and guests, and one helper for each boundary |
//! | `calling` | what a call gives back: values, exits, traps, output, cancellation, panics |
//! | `limits` | each limit, with a guest that breaks exactly that one, and limits that cannot be set |
//! | `grants` | what a guest sees of what it was granted, and the toolbox at work |
//! | `tools` | tools of all makers, called both ways, and sets of them |
//! | `gate` | the steps of the Gate, each where it alone says no; approvals, budgets and events |
//! | `models` | chats: the steps of the Gate, what models and guests get wrong, budgets, and what is said on the way |
//! | `policy` | rules in Cedar, with real guests that try to slip them |
//! | `server` | a server on loopback that says what a test wants |
//! | `network` | requests of guests, the secrets that are put into them, and what comes back |
//! | `http_tools` | tools of HTTP endpoints, called by name and through the host `tools.internal` |
//! | `outside` | a resolver and a dialer that tell what they were asked, and requests of the guest `fetcher` |
//! | `egress` | each way to reach what may not be reached, or to be harmed by what answers, tried |
//! | `secrets` | each way to get hold of a secret, tried |
//! | `canary` | all that anybody gets to see, searched for a secret |
//! | `escapes` | each way out of a sandbox, tried: what the guest saw, what was reported, and the world unchanged |
//! | `engine` | slots, queues, placement, and what is `Send` and `Sync` |
//! | `executor` | guests beside other tasks, on each kind of runtime and without one |
//! | `cache` | compiled components on disk, and those compiled ahead |
//! | `description` | names, docs and schemas of tools, and components that cannot be loaded |
//! | `providers` | components that describe their own tools, and each way to describe them badly, tried |
//! | `runs` | agents executed, watched, stopped, and gone on with elsewhere |
//! | `durability` | each way to lose, double or reorder what a run did, tried |
//! | `pages` | what the documents say of the tests |
//! | `storage` | what every storage promises, and what SQLite does where processes, files and disks fail |
//! | `bad_input` | JSON, names and bytes that nobody should send |

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this is tests, helpers included"
)]

mod outside;
mod server;
mod support;

mod bad_input;
mod cache;
mod calling;
mod canary;
mod description;
mod durability;
mod egress;
mod engine;
mod escapes;
mod executor;
mod gate;
mod grants;
mod http_tools;
mod limits;
mod models;
mod network;
mod pages;
mod policy;
mod providers;
mod runs;
mod secrets;
mod storage;
mod tools;

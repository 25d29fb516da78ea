//! What lives while the server does: sandboxes, their execs, and what those wrote and are to read.
//!
//! ```text
//!  Table ──id, task id──► Live (one sandbox) ──exec id──► Exec ─┬─ Output: stdout, stderr, kept by offset
//!                          │                                    └─ Input: stdin, bytes counted, none taken twice
//!                          ├─ main: the Exec of the sandbox's command
//!                          └─ end: why it ended, once it has
//! ```
//!
//! Clients come and go, and ask again for what they have not got. So an exec belongs to the table, not to a call: its output is
//! pumped out of the process whether anybody reads or not, and stays after its end; a start with an id that is known starts
//! nothing. What has ended is kept for a while ([`table::ENDED`] sandboxes), then only the state remembers it.

pub(crate) mod answers;
pub(crate) mod exec;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod sandbox;
pub(crate) mod share;
pub(crate) mod table;

//! What is kept of a sandbox.

use crate::state::column::{At, Json};
use computesdk_core::EndCause;
use rusqlite::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A sandbox.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SandboxRecord {
    /// `sb-…`, in the shape of its family.
    pub(crate) id: String,
    /// `ta-…`
    pub(crate) task_id: String,
    pub(crate) workspace: String,
    pub(crate) environment: String,
    pub(crate) app_id: String,
    /// Unique among those of its app that have not ended.
    pub(crate) name: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// To the microsecond; unique in its workspace.
    pub(crate) created_at: SystemTime,
    pub(crate) ready_at: Option<SystemTime>,
    pub(crate) ended_at: Option<SystemTime>,
    pub(crate) end: Option<EndRecord>,
    /// What the provider calls it.
    pub(crate) provider_id: Option<String>,
    pub(crate) spec: SpecRecord,
}

impl SandboxRecord {
    /// Of a row with all columns, in the order of the schema.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            task_id: row.get(1)?,
            workspace: row.get(2)?,
            environment: row.get(3)?,
            app_id: row.get(4)?,
            name: row.get(5)?,
            tags: row.get::<_, Json<_>>(6)?.0,
            created_at: row.get::<_, At>(7)?.time(),
            ready_at: row.get::<_, Option<At>>(8)?.map(At::time),
            ended_at: row.get::<_, Option<At>>(9)?.map(At::time),
            end: row.get::<_, Option<Json<_>>>(10)?.map(|end| end.0),
            provider_id: row.get(11)?,
            spec: row.get::<_, Json<_>>(12)?.0,
        })
    }
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndRecord {
    pub(crate) cause: EndCause,
    pub(crate) exit_code: i32,
}

/// What was asked for. What an older version did not write has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SpecRecord {
    pub(crate) image_id: String,
    pub(crate) timeout_secs: u64,
    pub(crate) idle_timeout_secs: Option<u64>,
    pub(crate) milli_cpu: u32,
    pub(crate) milli_cpu_max: u32,
    pub(crate) memory_mb: u32,
    pub(crate) memory_mb_max: u32,
    pub(crate) disk_mb: u32,
    pub(crate) ports: Vec<PortRecord>,
    pub(crate) probe: Option<ProbeRecord>,
    pub(crate) regions: Vec<String>,
    /// What the server could not do as asked, in sentences.
    pub(crate) notices: Vec<String>,
}

/// A port that is reached from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PortRecord {
    pub(crate) port: u16,
    pub(crate) unencrypted: bool,
    pub(crate) h2: bool,
}

/// How to see that it is ready: a port that accepts, or a command that succeeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProbeRecord {
    pub(crate) tcp_port: Option<u16>,
    pub(crate) argv: Vec<String>,
    pub(crate) interval_ms: u32,
}

//! Secrets: sets of environment variables. Named ones are on disk, their values sealed with the key file, each for its own
//! place: one row's values cannot be put into another row. The rest is in memory alone.

#[cfg(test)]
mod tests;

use super::column::{At, Json};
use super::environments::{self, named};
use super::keys::Keys;
use super::{State, StateError};
use crate::ids::fresh;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Bytes of names and values of one secret. A program's environment has no room for more.
const MOST_BYTES: usize = 1 << 20;
const COLUMNS: &str = "id, workspace, environment, name, app_id, keys, created_at, last_used_at";

/// Variables and their values.
pub(super) type Values = BTreeMap<String, SecretString>;

/// What is known of a secret, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretRecord {
    /// `st-…`
    pub(crate) id: String,
    pub(crate) workspace: String,
    pub(crate) environment: String,
    /// None for anonymous and ephemeral ones.
    pub(crate) name: Option<String>,
    pub(crate) app_id: Option<String>,
    /// The names of its variables, in order.
    pub(crate) keys: Vec<String>,
    pub(crate) created_at: SystemTime,
    pub(crate) last_used_at: Option<SystemTime>,
}

impl SecretRecord {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            workspace: row.get(1)?,
            environment: row.get(2)?,
            name: row.get(3)?,
            app_id: row.get(4)?,
            keys: row.get::<_, Json<_>>(5)?.0,
            created_at: row.get::<_, At>(6)?.time(),
            last_used_at: row.get::<_, Option<At>>(7)?.map(At::time),
        })
    }
}

/// What to do about a secret that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretMode {
    /// Leave it as it is.
    CreateIfMissing,
    /// Refuse.
    FailIfExists,
    /// Replace all of its values; the id stays.
    Overwrite,
    /// It has no name and belongs to an app. In memory alone.
    Anonymous,
    /// It has no name. In memory alone.
    Ephemeral,
}

/// A secret to keep.
#[derive(Debug, Clone)]
pub(crate) struct SecretWrite {
    pub(crate) name: Option<String>,
    pub(crate) app_id: Option<String>,
    pub(crate) values: BTreeMap<String, SecretString>,
    pub(crate) mode: SecretMode,
}

pub(super) fn size_of(values: &Values) -> usize {
    values.iter().map(|(key, value)| key.len() + value.expose_secret().len()).sum()
}

fn fits(values: &Values) -> Result<(), StateError> {
    if size_of(values) > MOST_BYTES {
        return Err(StateError::TooLarge { what: "a secret", most: MOST_BYTES });
    }
    Ok(())
}

fn seal(keys: &Keys, workspace: &str, id: &str, values: &Values) -> Result<Vec<u8>, StateError> {
    let plain: BTreeMap<&str, &str> = values.iter().map(|(key, value)| (key.as_str(), value.expose_secret())).collect();
    let plain = Zeroizing::new(serde_json::to_vec(&plain).map_err(|_| unreadable(id))?);
    Ok(keys.seal(&["secret", workspace, id], &plain))
}

fn open_sealed(keys: &Keys, workspace: &str, id: &str, sealed: &[u8]) -> Result<Values, StateError> {
    let plain = keys.open_sealed(&["secret", workspace, id], sealed).ok_or_else(|| unreadable(id))?;
    serde_json::from_slice::<BTreeMap<String, String>>(&plain)
        .map(|values| values.into_iter().map(|(key, value)| (key, value.into())).collect())
        .map_err(|_| unreadable(id))
}

fn unreadable(id: &str) -> StateError {
    StateError::Sealed { what: format!("secret {id}") }
}

fn by_name(
    db: &Transaction<'_>,
    workspace: &str,
    environment: &str,
    name: &str,
) -> rusqlite::Result<Option<SecretRecord>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM secrets WHERE workspace = ? AND environment = ? AND name = ?"))?
        .query_row(params![workspace, environment, name], SecretRecord::of)
        .optional()
}

fn by_id(db: &Transaction<'_>, workspace: &str, id: &str) -> rusqlite::Result<Option<SecretRecord>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM secrets WHERE id = ? AND workspace = ?"))?
        .query_row(params![id, workspace], SecretRecord::of)
        .optional()
}

/// The sealed values of a secret.
fn sealed(db: &Transaction<'_>, workspace: &str, id: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    db.prepare_cached("SELECT sealed FROM secrets WHERE id = ? AND workspace = ?")?
        .query_row(params![id, workspace], |row| row.get(0))
        .optional()
}

fn replace(db: &Transaction<'_>, keys: &Keys, workspace: &str, id: &str, values: &Values) -> Result<(), StateError> {
    let names: Vec<&String> = values.keys().collect();
    db.prepare_cached("UPDATE secrets SET keys = ?, sealed = ? WHERE id = ?")?.execute(params![
        Json(names),
        seal(keys, workspace, id, values)?,
        id
    ])?;
    Ok(())
}

fn insert(db: &Transaction<'_>, keys: &Keys, record: &SecretRecord, values: &Values) -> Result<(), StateError> {
    let mut created_at = At::from(record.created_at);
    let mut same =
        db.prepare_cached("SELECT 1 FROM secrets WHERE workspace = ? AND environment = ? AND created_at = ?")?;
    while same.exists(params![record.workspace, record.environment, created_at])? {
        created_at.0 += 1;
    }
    db.prepare_cached("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)")?.execute(params![
        record.id,
        record.workspace,
        record.environment,
        record.name,
        record.app_id,
        Json(&record.keys),
        seal(keys, &record.workspace, &record.id, values)?,
        created_at,
    ])?;
    Ok(())
}

impl State {
    /// Keeps a secret. Answers what is kept under its name afterwards.
    ///
    /// # Errors
    /// [`StateError::SecretExists`], [`StateError::NoEnvironment`], [`StateError::NoName`], [`StateError::TooLarge`] (1 MiB).
    pub(crate) async fn put_secret(
        &self,
        workspace: &str,
        environment: &str,
        secret: SecretWrite,
    ) -> Result<SecretRecord, StateError> {
        let SecretWrite { name, app_id, values, mode } = secret;
        fits(&values)?;
        let mut record = SecretRecord {
            id: fresh("st"),
            workspace: workspace.to_owned(),
            environment: named(environment),
            name: None,
            app_id,
            keys: values.keys().cloned().collect(),
            created_at: At::now().time(),
            last_used_at: None,
        };
        if matches!(mode, SecretMode::Anonymous | SecretMode::Ephemeral) {
            self.inner.short_lived.insert(record.clone(), values);
            return Ok(record);
        }
        let name = name.filter(|name| !name.is_empty()).ok_or(StateError::NoName)?;
        record.name = Some(name.clone());
        self.write(move |inner, db| {
            let (workspace, environment) = (&record.workspace, &record.environment);
            if environments::get(db, workspace, environment, false)?.is_none() {
                return Err(StateError::NoEnvironment { name: record.environment });
            }
            match by_name(db, workspace, environment, &name)? {
                None => insert(db, &inner.keys, &record, &values)?,
                Some(found) => match mode {
                    SecretMode::FailIfExists => return Err(StateError::SecretExists { name }),
                    SecretMode::Overwrite => replace(db, &inner.keys, workspace, &found.id, &values)?,
                    _ => return Ok(found),
                },
            }
            // As it is kept: the time may have been taken.
            by_name(db, workspace, environment, &name)?.ok_or(StateError::Sqlite(rusqlite::Error::QueryReturnedNoRows))
        })
        .await
    }

    /// The secret of this name.
    pub(crate) async fn secret_by_name(
        &self,
        workspace: &str,
        environment: &str,
        name: &str,
    ) -> Result<Option<SecretRecord>, StateError> {
        let (workspace, environment, name) = (workspace.to_owned(), named(environment), name.to_owned());
        self.read(move |_, db| Ok(by_name(db, &workspace, &environment, &name)?)).await
    }

    /// The secret with this id, of any kind.
    pub(crate) async fn secret(&self, workspace: &str, id: &str) -> Result<Option<SecretRecord>, StateError> {
        if let Some(record) = self.inner.short_lived.record(workspace, id) {
            return Ok(Some(record));
        }
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.read(move |_, db| Ok(by_id(db, &workspace, &id)?)).await
    }

    /// Its variables, for whoever starts a program with them. Notes that it was used.
    ///
    /// # Errors
    /// [`StateError::Sealed`] where the values were changed on disk.
    pub(crate) async fn secret_values(
        &self,
        workspace: &str,
        id: &str,
    ) -> Result<Option<BTreeMap<String, SecretString>>, StateError> {
        if let Some(values) = self.inner.short_lived.values(workspace, id) {
            return Ok(Some(values));
        }
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.write(move |inner, db| {
            let Some(sealed) = sealed(db, &workspace, &id)? else { return Ok(None) };
            db.prepare_cached("UPDATE secrets SET last_used_at = ? WHERE id = ?")?.execute(params![At::now(), id])?;
            open_sealed(&inner.keys, &workspace, &id, &sealed).map(Some)
        })
        .await
    }

    /// Sets some variables and removes those without a value. Answers none where there is no such secret.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] for what would have more than 1 MiB; [`StateError::Sealed`].
    pub(crate) async fn update_secret(
        &self,
        workspace: &str,
        id: &str,
        changes: Vec<(String, Option<SecretString>)>,
    ) -> Result<Option<SecretRecord>, StateError> {
        let apply = move |mut values: Values| {
            for (key, value) in changes {
                match value {
                    Some(value) => values.insert(key, value),
                    None => values.remove(&key),
                };
            }
            fits(&values).map(|()| values)
        };
        if let Some(values) = self.inner.short_lived.values(workspace, id) {
            return Ok(self.inner.short_lived.replace(workspace, id, apply(values)?));
        }
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.write(move |inner, db| {
            let Some(sealed) = sealed(db, &workspace, &id)? else { return Ok(None) };
            let values = apply(open_sealed(&inner.keys, &workspace, &id, &sealed)?)?;
            replace(db, &inner.keys, &workspace, &id, &values)?;
            Ok(by_id(db, &workspace, &id)?)
        })
        .await
    }

    /// Forgets a secret; whether there was one.
    pub(crate) async fn delete_secret(&self, workspace: &str, id: &str) -> Result<bool, StateError> {
        if self.inner.short_lived.remove(workspace, id) {
            return Ok(true);
        }
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        self.write(move |_, db| {
            let mut gone = db.prepare_cached("DELETE FROM secrets WHERE id = ? AND workspace = ?")?;
            Ok(gone.execute(params![id, workspace])? > 0)
        })
        .await
    }

    /// The named secrets of an environment, newest first: those made strictly before, and at most so many.
    pub(crate) async fn secrets(
        &self,
        workspace: &str,
        environment: &str,
        before: Option<SystemTime>,
        limit: usize,
    ) -> Result<Vec<SecretRecord>, StateError> {
        let (workspace, environment) = (workspace.to_owned(), named(environment));
        let before = before.map_or(At(i64::MAX), At::from);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |_, db| {
            let mut rows = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM secrets WHERE workspace = ? AND environment = ? AND created_at < ?
                 ORDER BY created_at DESC LIMIT ?"
            ))?;
            let rows = rows.query_map(params![workspace, environment, before, limit], SecretRecord::of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

//! Looks a home over without changing anything.

use std::os::unix::fs::PermissionsExt;

use datamesh_api::{Finding, OperationError, Severity};

use crate::home::Home;
use crate::local::reach_daemon;
use crate::{account, config, mesh};

fn finding(subject: &str, severity: Severity, message: impl ToString) -> Finding {
    Finding { subject: subject.into(), severity, message: message.to_string(), hint: None }
}

fn failed(subject: &str, error: OperationError) -> Finding {
    Finding {
        subject: subject.into(),
        severity: Severity::Critical,
        message: error.message,
        hint: error.hint,
    }
}

/// Looks a home over: settings, file modes, account, catalog, mesh, service, free space.
pub async fn doctor(home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = home.path();
    match std::fs::metadata(path) {
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            return vec![Finding {
                hint: Some("make an account with: datamesh init".into()),
                ..finding("home", Severity::Warning, message)
            }];
        }
        Ok(data) if data.permissions().mode() & 0o077 != 0 => findings.push(Finding {
            hint: Some(format!("chmod 700 '{}'", path.display())),
            ..finding("home", Severity::Warning, "other users of this machine can look into it")
        }),
        Ok(_) => findings.push(finding("home", Severity::Ok, path.display())),
    }
    findings.push(match config::validate(home) {
        Ok(()) => finding("settings", Severity::Ok, "valid"),
        Err(error) => failed("settings", error),
    });
    match account::public_account(home) {
        Err(error) => findings.push(failed("account", error)),
        Ok(None) => findings.push(finding("account", Severity::Ok, "none in this home")),
        Ok(Some(public)) => {
            findings.push(finding("account", Severity::Ok, public.log.account));
            // A running service has the catalog open, and answers for it.
            if let Ok(Some(_lock)) = home.try_lock() {
                let checked = account::open_catalog(home, &public)
                    .and_then(|db| db.check().map_err(|e| account::catalog_error(&e)));
                findings.push(match checked {
                    Ok(_) => finding("catalog", Severity::Ok, "every row proved"),
                    Err(error) => failed("catalog", error),
                });
            }
        }
    }
    findings.push(match mesh::genesis(home) {
        Err(error) => failed("mesh", error),
        Ok(None) => Finding {
            hint: Some("datamesh join <ticket>, or datamesh service to found one".into()),
            ..finding("mesh", Severity::Warning, "this home has joined none")
        },
        Ok(Some(genesis)) => finding("mesh", Severity::Ok, genesis.mesh_id()),
    });
    findings.push(match reach_daemon(home).await {
        Ok(Some(_)) => finding("service", Severity::Ok, "running"),
        Ok(None) => finding("service", Severity::Ok, "not running"),
        Err(error) => failed("service", error),
    });
    if let Ok(stat) = rustix::fs::statvfs(path) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let severity = if free < 1 << 30 { Severity::Warning } else { Severity::Ok };
        let message = format!("{} free", bytesize::ByteSize(free));
        findings.push(finding("disk", severity, message));
    }
    findings
}

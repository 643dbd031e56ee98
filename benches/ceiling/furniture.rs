//! Databases with many clients and many roles, furnished by SQL: by commands it would take minutes.
//!
//! For databases that no server runs on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Error};

use super::disk::on_runtime;
use crate::rig::grantd::House;
use crate::rig::wire::{basic, write_token_request};

/// Copies the client `app` so often, secret and all; gives a request of each of the copies.
pub(crate) fn many_clients(house: &House, of_app: &str, count: usize) -> Vec<Vec<u8>> {
    run(
        house,
        &[
            format!(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < {count})
                 insert into clients (id, name, grant_types, scope, audience, auth_methods, access_ttl, refresh_ttl,
                                      alg, disabled_at, created_at, trust_user_address, status_index)
                 select 'app-' || i, name, grant_types, scope, audience, auth_methods, access_ttl, refresh_ttl,
                        alg, disabled_at, created_at, trust_user_address, 1000000000 + i
                 from clients, n where id = 'app'"
            ),
            format!(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < {count})
                 insert into client_secrets (client_id, position, kind, hash, created_at, expires_at)
                 select 'app-' || i, position, kind, hash, created_at, expires_at
                 from client_secrets, n where client_id = 'app'"
            ),
        ],
    );
    let pair = STANDARD.decode(of_app.trim_start_matches("Basic ")).expect("base64");
    let pair = String::from_utf8(pair).expect("text");
    let (_, secret) = pair.split_once(':').expect("a secret");
    let request = |number| {
        let mut request = Vec::new();
        let basic = basic(&format!("app-{number}"), secret);
        write_token_request(&mut request, &basic, "grant_type=client_credentials");
        request
    };
    (1..=count).map(request).collect()
}

/// Makes so many roles, each with the scope of `app` and one of its own.
pub(crate) fn many_roles(house: &House, count: usize) {
    run(
        house,
        &[format!(
            "with recursive n (i) as (select 1 union all select i + 1 from n where i < {count})
             insert into roles (name, scope, created_at) select 'role-' || i, 'read scope-' || i, 0 from n"
        )],
    );
}

fn run(house: &House, statements: &[String]) {
    let file = house.path().join("data/grantd.db");
    let run = async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut connection).await?;
        }
        connection.close().await
    };
    on_runtime::<Result<(), Error>>(run).expect("a database of this version's shape");
}

//! What the SQL of an object may do, and how much of it.
//!
//! SQLite asks before it runs a statement: about every table, function and pragma in it, those of triggers and views
//! too. What is not in a list here is refused (checklist 6.6 to 6.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

/// How names begin that are ours.
const OURS: &str = "_opendo_";

pub(super) fn is_ours(name: &str) -> bool {
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// Whether one of our names can be in a text at all. SQL has no other way to spell a letter.
pub(super) fn mentions_ours(sql: &str) -> bool {
    sql.as_bytes().windows(OURS.len()).any(|part| part.eq_ignore_ascii_case(OURS.as_bytes()))
}

/// The bounds of one object's database (checklist 6.14, 10.1, 10.2).
#[derive(Clone, Debug)]
pub(crate) struct SqlLimits {
    /// Of the whole database, in bytes.
    pub(crate) database: u64,
    /// Of a row, a text, a blob, or a key and its value, in bytes.
    pub(crate) value: usize,
    /// Of the text of a statement, in bytes.
    pub(crate) statement: usize,
    pub(crate) parameters: usize,
    pub(crate) columns: usize,
    /// Of a LIKE or GLOB pattern, in bytes.
    pub(crate) pattern: usize,
    pub(crate) arguments: usize,
    pub(crate) compound_select: usize,
    pub(crate) expression_depth: usize,
    pub(crate) operations: usize,
    pub(crate) trigger_depth: usize,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            database: 10_000_000_000,
            value: 2 << 20,
            statement: 100_000,
            parameters: 100,
            columns: 100,
            pattern: 50,
            arguments: 32,
            compound_select: 5,
            expression_depth: 100,
            operations: 25_000,
            trigger_depth: 10,
        }
    }
}

/// A key and its value make a row together with SQLite's header of it.
const HEADER: usize = 1024;

/// Whose statements SQLite is asked to prepare.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// [`OURSELVES`], or one of the two below.
    who: AtomicU8,
    /// The last refusal was of a statement about transactions.
    transaction: AtomicBool,
}

const OURSELVES: u8 = 0;
const USER: u8 = 1;
/// A user whose text mentions one of our names.
const USER_WITH_OUR_NAMES: u8 = 2;

/// Until it is dropped, statements are somebody's.
pub(super) struct Acting<'p> {
    policy: &'p Policy,
    before: u8,
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.policy.who.store(self.before, Relaxed);
    }
}

impl Policy {
    /// Guards `connection` from here on.
    pub(super) fn install(connection: &mut Connection, limits: &SqlLimits) -> rusqlite::Result<Arc<Self>> {
        use DbConfig::*;
        for (config, on) in [
            (SQLITE_DBCONFIG_ENABLE_FKEY, true),
            // Not even a statement that is allowed can break the schema.
            (SQLITE_DBCONFIG_DEFENSIVE, true),
            (SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            // A text in double quotes is a name: a misspelt one is an error instead of a constant.
            (SQLITE_DBCONFIG_DQS_DML, false),
            (SQLITE_DBCONFIG_DQS_DDL, false),
        ] {
            connection.set_db_config(config, on)?;
        }
        use Limit::*;
        for (limit, value) in [
            (SQLITE_LIMIT_LENGTH, limits.value + HEADER),
            (SQLITE_LIMIT_SQL_LENGTH, limits.statement),
            (SQLITE_LIMIT_COLUMN, limits.columns),
            (SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth),
            (SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_select),
            (SQLITE_LIMIT_VDBE_OP, limits.operations),
            (SQLITE_LIMIT_FUNCTION_ARG, limits.arguments),
            (SQLITE_LIMIT_ATTACHED, 0),
            (SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.pattern),
            (SQLITE_LIMIT_VARIABLE_NUMBER, limits.parameters),
            (SQLITE_LIMIT_TRIGGER_DEPTH, limits.trigger_depth),
            (SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
        }
        let policy = Arc::new(Self::default());
        let asked = policy.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| asked.answer(&context)))?;
        Ok(policy)
    }

    /// The statements to come are ours.
    pub(super) fn ourselves(&self) -> Acting<'_> {
        self.act(OURSELVES)
    }

    /// The statements to come are those of `sql`.
    pub(super) fn user(&self, sql: &str) -> Acting<'_> {
        self.act(if mentions_ours(sql) { USER_WITH_OUR_NAMES } else { USER })
    }

    fn act(&self, who: u8) -> Acting<'_> {
        Acting { policy: self, before: self.who.swap(who, Relaxed) }
    }

    /// Whether a statement about transactions was refused since the last time this was asked.
    pub(super) fn take_transaction(&self) -> bool {
        self.transaction.swap(false, Relaxed)
    }

    fn answer(&self, context: &AuthContext<'_>) -> Authorization {
        use AuthAction::*;
        use Authorization::{Allow, Deny, Ignore};
        let who = self.who.load(Relaxed);
        if who == OURSELVES {
            return Allow;
        }
        let of = |allowed: bool| if allowed { Allow } else { Deny };
        // `ALTER TABLE` looks after triggers there, of which there are none.
        if context.database_name == Some("temp")
            && !matches!(context.action, Select | Read { .. } | Update { .. })
        {
            return Deny;
        }
        match context.action {
            Select | Recursive => Allow,
            Read { table_name, .. }
            | Insert { table_name }
            | Update { table_name, .. }
            | Delete { table_name }
            | CreateTable { table_name }
            | DropTable { table_name } => of(!is_ours(table_name)),
            // Does not say to what a table is renamed.
            AlterTable { table_name, .. } => of(!is_ours(table_name) && who != USER_WITH_OUR_NAMES),
            CreateIndex { index_name: name, table_name }
            | DropIndex { index_name: name, table_name }
            | CreateTrigger { trigger_name: name, table_name }
            | DropTrigger { trigger_name: name, table_name } => of(!is_ours(name) && !is_ours(table_name)),
            CreateView { view_name } | DropView { view_name } => of(!is_ours(view_name)),
            CreateVtable { table_name, module_name } | DropVtable { table_name, module_name } => {
                of(!is_ours(table_name) && MODULES.contains(&&*module_name.to_ascii_lowercase()))
            }
            // `ANALYZE` of everything goes on without ours.
            Analyze { table_name } if is_ours(table_name) => Ignore,
            Analyze { .. } | Reindex { .. } => Allow,
            Function { function_name } => of(is_function(function_name)),
            Pragma { pragma_name, pragma_value } => of(is_pragma(pragma_name, pragma_value)),
            Transaction { .. } | Savepoint { .. } => {
                self.transaction.store(true, Relaxed);
                Deny
            }
            _ => Deny,
        }
    }
}

const MODULES: [&str; 2] = ["fts5", "fts5vocab"];

/// FTS5 asks for the version of the data on its own.
const PRAGMAS: [&str; 13] = [
    "case_sensitive_like",
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "optimize",
    "quick_check",
    "recursive_triggers",
    "reverse_unordered_selects",
    "table_list",
];

/// These take a name, which may be one that is ours.
const PRAGMAS_OF_A_NAME: [&str; 5] = ["index_info", "index_list", "index_xinfo", "table_info", "table_xinfo"];

fn is_pragma(name: &str, value: Option<&str>) -> bool {
    let name = &*name.to_ascii_lowercase();
    PRAGMAS.contains(&name)
        || (PRAGMAS_OF_A_NAME.contains(&name) && value.is_some_and(|value| !is_ours(value)))
}

fn is_function(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // SQLite's own, for ALTER TABLE. It refuses them to everybody else before it asks.
    let internal = ["sqlite_rename_", "sqlite_drop_", "sqlite_add_", "sqlite_find_", "sqlite_fail"];
    FUNCTIONS.binary_search(&&*name).is_ok() || internal.iter().any(|start| name.starts_with(start))
}

/// In byte order.
#[rustfmt::skip]
const FUNCTIONS: [&str; 144] = [
    "->", "->>", "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "avg", "bm25", "ceil",
    "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "cos", "cosh", "count", "cume_dist",
    "current_date", "current_time", "current_timestamp", "date", "datetime", "degrees", "dense_rank",
    "exp", "first_value", "floor", "format", "fts5_get_locale", "fts5_insttoken", "fts5_locale", "glob",
    "group_concat", "hex", "highlight", "if", "ifnull", "iif", "instr", "json", "json_array",
    "json_array_insert", "json_array_length", "json_each", "json_error_position", "json_extract",
    "json_group_array", "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty",
    "json_quote", "json_remove", "json_replace", "json_set", "json_tree", "json_type", "json_valid",
    "jsonb", "jsonb_array", "jsonb_array_insert", "jsonb_each", "jsonb_extract", "jsonb_group_array",
    "jsonb_group_object", "jsonb_insert", "jsonb_object", "jsonb_patch", "jsonb_remove", "jsonb_replace",
    "jsonb_set", "jsonb_tree", "julianday", "lag", "last_insert_rowid", "last_value", "lead", "length",
    "like", "likelihood", "likely", "ln", "log", "log10", "log2", "lower", "ltrim", "match", "max", "min",
    "mod", "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "pi", "pow", "power", "printf",
    "quote", "radians", "random", "randomblob", "rank", "replace", "round", "row_number", "rtrim", "sign",
    "sin", "sinh", "snippet", "soundex", "sqrt", "strftime", "string_agg", "substr", "substring", "sum",
    "tan", "tanh", "time", "timediff", "total", "total_changes", "trim", "trunc", "typeof", "unhex",
    "unicode", "unistr", "unistr_quote", "unixepoch", "unlikely", "upper", "zeroblob",
];

//! Statements written out, so that connections keep them prepared: diesel has every UPDATE and all SQL of others parsed
//! anew each time, since it cannot know that its text never changes.

use diesel::connection::Connection;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel::{QueryResult, RunQueryDsl};

use super::dialect::Conn;

/// A value for a `?`.
pub(super) enum Bind<'a> {
    Small(i16),
    Int(i32),
    Big(i64),
    Bytes(&'a [u8]),
    MaybeBytes(Option<&'a [u8]>),
    Text(&'a str),
    MaybeText(Option<&'a str>),
}

/// A statement of fixed text in the SQL that both databases speak, with a value for each `?`.
pub(super) struct Statement<'a> {
    sql: &'static str,
    binds: Vec<Bind<'a>>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: &'static str, binds: Vec<Bind<'a>>) -> Self {
        debug_assert_eq!(sql.matches('?').count(), binds.len(), "a value for each place of {sql}");
        Self { sql, binds }
    }
}

impl QueryId for Statement<'_> {
    type QueryId = ();
    // Connections find it by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<<Conn as Connection>::Backend> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, <Conn as Connection>::Backend>) -> QueryResult<()> {
        let mut binds = self.binds.iter();
        for (nth, part) in self.sql.split('?').enumerate() {
            if nth > 0 {
                match binds.next() {
                    Some(Bind::Small(value)) => out.push_bind_param::<SmallInt, _>(value)?,
                    Some(Bind::Int(value)) => out.push_bind_param::<Integer, _>(value)?,
                    Some(Bind::Big(value)) => out.push_bind_param::<BigInt, _>(value)?,
                    Some(Bind::Bytes(value)) => out.push_bind_param::<Binary, _>(*value)?,
                    Some(Bind::MaybeBytes(value)) => out.push_bind_param::<Nullable<Binary>, _>(value)?,
                    Some(Bind::Text(value)) => out.push_bind_param::<Text, _>(*value)?,
                    Some(Bind::MaybeText(value)) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                    // The database then refuses the statement.
                    None => out.push_sql("?"),
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<C> RunQueryDsl<C> for Statement<'_> {}

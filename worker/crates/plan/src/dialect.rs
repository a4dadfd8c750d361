//! Flink SQL as far as the parser of queries must know of it.

use datafusion_sql::sqlparser::ast::{Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart};
use datafusion_sql::sqlparser::dialect::Dialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

/// The dialect of queries and expressions.
#[derive(Debug)]
pub(crate) struct Flink;

/// What `TABLE name` as a function's argument is turned into: a call of this name with the table's
/// name as its only "parameter".
pub(crate) const TABLE_ARGUMENT: &str = "TABLE";

impl Dialect for Flink {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }
    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }
    fn supports_table_versioning(&self) -> bool {
        true
    }
    fn supports_boolean_literals(&self) -> bool {
        true
    }
    fn require_interval_qualifier(&self) -> bool {
        true
    }
    fn supports_string_literal_backslash_escape(&self) -> bool {
        false
    }
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let table = parser.peek_token();
        let (Token::Word(word), Token::Word(_)) = (&table.token, &parser.peek_nth_token(1).token) else {
            return None;
        };
        if word.keyword != Keyword::TABLE {
            return None;
        }
        parser.next_token();
        Some(parser.parse_object_name(false).map(|name| table_argument(table.span, name)))
    }
}

fn table_argument(span: datafusion_sql::sqlparser::tokenizer::Span, name: ObjectName) -> Expr {
    let mut parts = vec![ObjectNamePart::Identifier(Ident::with_span(span, TABLE_ARGUMENT))];
    parts.extend(name.0);
    Expr::Function(datafusion_sql::sqlparser::ast::Function {
        name: ObjectName(parts),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::None,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

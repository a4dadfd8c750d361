//! The text of a job, taken apart into statements, each parsed by itself so that one's problem does
//! not hide another's.

use datafusion_sql::sqlparser::ast::{Ident, Query};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::Setting;
use crate::dialect::Flink;
use crate::problem::{Fault, Place};
use crate::table::{TableDef, parse_table};

/// A statement that was understood.
pub(crate) enum Statement {
    Set(Setting),
    Table(Box<TableDef>),
    View(ViewDef),
    Insert(InsertDef),
}

/// `CREATE VIEW name [(columns)] AS query`.
pub(crate) struct ViewDef {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
    pub(crate) if_not_exists: bool,
}

/// `INSERT INTO table [(columns)] query`.
pub(crate) struct InsertDef {
    pub(crate) place: Place,
    pub(crate) table: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}

/// Parses all statements; faults and statements are both in the order of the text.
pub(crate) fn parse(sql: &str) -> (Vec<Statement>, Vec<Fault>) {
    let (mut statements, mut faults) = (Vec::new(), Vec::new());
    let pieces = match pieces(sql) {
        Ok(pieces) => pieces,
        Err(fault) => return (statements, vec![fault]),
    };
    let mut set = StatementSet::default();
    for piece in pieces {
        match set.step(piece).and_then(|piece| piece.map(statement).transpose()) {
            Ok(Some(statement)) => statements.push(statement),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(place) = set.open {
        faults.push(Fault::new(place, "this statement set has no END").hint("end it with END;"));
    }
    (statements, faults)
}

/// The SET statements alone.
pub(crate) fn parse_settings(sql: &str) -> (Vec<Setting>, Vec<Fault>) {
    let (mut settings, mut faults) = (Vec::new(), Vec::new());
    match pieces(sql) {
        Ok(pieces) => {
            for piece in pieces.into_iter().filter(|p| is_word(&p[0], "SET")) {
                match statement(piece) {
                    Ok(Statement::Set(setting)) => settings.push(setting),
                    Ok(_) => {}
                    Err(fault) => faults.push(fault),
                }
            }
        }
        Err(fault) => faults.push(fault),
    }
    (settings, faults)
}

type Piece = Vec<TokenWithSpan>;

/// The tokens of each statement, without blanks and comments, none empty.
fn pieces(sql: &str) -> Result<Vec<Piece>, Fault> {
    let tokens = Tokenizer::new(&Flink, sql).tokenize_with_location().map_err(|e| {
        let span = Span::new(e.location, e.location);
        Fault::new(Place { length: 1, ..Place::of(span) }, lower_first(&e.message))
    })?;
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with('+') => {
                return Err(Fault::new(
                    Place { length: 3, ..Place::of(token.span) },
                    "hints are not supported yet",
                )
                .hint("remove /*+ … */"));
            }
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => pieces.push(Vec::new()),
            // `ROW<a ROW<b INT>>`: the types' closing brackets are one by one.
            Token::ShiftRight => {
                let mut middle = token.span.start;
                middle.column += 1;
                let half = |start, end| TokenWithSpan { token: Token::Gt, span: Span::new(start, end) };
                let last = pieces.len() - 1;
                pieces[last].extend([half(token.span.start, middle), half(middle, token.span.end)]);
            }
            _ => {
                let last = pieces.len() - 1;
                pieces[last].push(token);
            }
        }
    }
    pieces.retain(|p| !p.is_empty());
    Ok(pieces)
}

/// Where in `EXECUTE STATEMENT SET BEGIN … END` the text is.
#[derive(Default)]
struct StatementSet {
    open: Option<Place>,
}

impl StatementSet {
    /// Takes the frame of a statement set away; gives the statement inside, if there is one.
    fn step(&mut self, mut piece: Piece) -> Result<Option<Piece>, Fault> {
        let starts = |piece: &Piece, words: &[&str]| {
            piece.len() >= words.len() && words.iter().zip(piece).all(|(w, t)| is_word(t, w))
        };
        let frame = [&["EXECUTE", "STATEMENT", "SET", "BEGIN"][..], &["BEGIN", "STATEMENT", "SET"]]
            .into_iter()
            .find(|words| starts(&piece, words));
        let place = Place::of(piece[0].span);
        if let Some(words) = frame {
            if self.open.is_some() {
                return Err(Fault::new(place, "a statement set cannot be within another"));
            }
            self.open = Some(place);
            piece.drain(..words.len());
            if piece.is_empty() {
                return Ok(None);
            }
        } else if piece.len() == 1 && is_word(&piece[0], "END") {
            let open = self.open.take();
            return open.map(|_| None).ok_or_else(|| Fault::new(place, "END without a statement set"));
        }
        let place = Place::of(piece[0].span);
        if self.open.is_some() && !is_word(&piece[0], "INSERT") {
            return Err(Fault::new(place, "a statement set holds INSERT statements only"));
        }
        Ok(Some(piece))
    }
}

/// Operators nest as deep as there are of them; what plans them is recursive.
const MAX_OPERATORS: usize = 1_000;

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(w) => {
            matches!(w.keyword, Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::CASE | Keyword::UNION)
        }
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => true,
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => true,
        _ => false,
    }
}

fn statement(piece: Piece) -> Result<Statement, Fault> {
    let first = Place::of(piece[0].span);
    if let Some(token) = piece.iter().filter(|t| is_operator(&t.token)).nth(MAX_OPERATORS) {
        let message = format!("the statement has more than {MAX_OPERATORS} operators");
        return Err(Fault::new(token.span, message).hint("use IN for long lists of values"));
    }
    let end = piece.last().map_or(first, |t| Place::of(t.span));
    let second = piece.get(1).map(|t| t.token.to_string().to_uppercase()).unwrap_or_default();
    let head = piece[0].token.to_string().to_uppercase();
    let mut p = Parser::new(&Flink).with_tokens_with_locations(piece);
    let statement = match head.as_str() {
        "SET" => set(&mut p, end)?,
        "CREATE" => create(&mut p, end)?,
        "INSERT" => insert(&mut p, first, end)?,
        "EXECUTE" if second == "INSERT" => {
            p.next_token();
            insert(&mut p, first, end)?
        }
        "SELECT" | "WITH" | "VALUES" => {
            return Err(Fault::new(first, "a query by itself is not supported: its rows would go nowhere")
                .hint("write INSERT INTO <table> before it; the connector 'print' shows rows"));
        }
        _ => {
            return Err(Fault::new(first, format!("{head} statements are not supported")).hint(
                "a job consists of SET, CREATE TABLE, CREATE VIEW, INSERT INTO and EXECUTE STATEMENT SET",
            ));
        }
    };
    let rest = p.peek_token();
    if rest.token != Token::EOF {
        return Err(Fault::new(rest.span, format!("unexpected {rest} after the statement"))
            .hint("statements are separated by ;"));
    }
    Ok(statement)
}

fn set(p: &mut Parser, end: Place) -> Result<Statement, Fault> {
    p.next_token();
    let key = p.next_token();
    let Token::SingleQuotedString(name) = &key.token else {
        return Err(Fault::new(Place::of(key.span).or(end), "SET takes a key in quotes")
            .hint("write SET 'key' = 'value'"));
    };
    p.expect_token(&Token::Eq).map_err(|e| parser_fault(&e, end))?;
    let value = p.next_token();
    let Token::SingleQuotedString(text) = value.token else {
        return Err(Fault::new(Place::of(value.span).or(end), "SET takes a value in quotes")
            .hint("write SET 'key' = 'value'"));
    };
    let Place { line, column, length } = Place::of(key.span);
    Ok(Statement::Set(Setting { key: name.clone(), value: text, line, column, length }))
}

fn create(p: &mut Parser, end: Place) -> Result<Statement, Fault> {
    p.next_token();
    if p.parse_keywords(&[Keyword::OR, Keyword::REPLACE]) {
        return Err(Fault::new(p.get_current_token().span, "CREATE OR REPLACE is not supported"));
    }
    let temporary = p.parse_keyword(Keyword::TEMPORARY);
    let token = p.next_token();
    let what = token.token.to_string().to_uppercase();
    match what.as_str() {
        "TABLE" => {
            let if_not_exists = p.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
            parse_table(p, if_not_exists, end).map(|t| Statement::Table(Box::new(t)))
        }
        "VIEW" => view(p, end),
        _ => {
            let temporary = if temporary { "TEMPORARY " } else { "" };
            Err(Fault::new(
                Place::of(token.span).or(end),
                format!("CREATE {temporary}{what} is not supported yet"),
            )
            .hint("CREATE TABLE and CREATE VIEW are"))
        }
    }
}

fn view(p: &mut Parser, end: Place) -> Result<Statement, Fault> {
    let if_not_exists = p.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = name(p, end)?;
    let mut columns = Vec::new();
    if p.consume_token(&Token::LParen) {
        loop {
            columns.push(p.parse_identifier().map_err(|e| parser_fault(&e, end))?);
            comment(p, end)?;
            if !p.consume_token(&Token::Comma) {
                break;
            }
        }
        p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, end))?;
    }
    comment(p, end)?;
    p.expect_keyword(Keyword::AS).map_err(|e| parser_fault(&e, end))?;
    let query = p.parse_query().map_err(|e| parser_fault(&e, end))?;
    Ok(Statement::View(ViewDef { name, columns, query, if_not_exists }))
}

fn insert(p: &mut Parser, place: Place, end: Place) -> Result<Statement, Fault> {
    p.next_token();
    if p.parse_keyword(Keyword::OVERWRITE) {
        return Err(Fault::new(
            p.get_current_token().span,
            "INSERT OVERWRITE is not supported: a stream has no end",
        ));
    }
    p.expect_keyword(Keyword::INTO).map_err(|e| parser_fault(&e, end))?;
    let table = name(p, end)?;
    if p.parse_keyword(Keyword::PARTITION) {
        return Err(Fault::new(p.get_current_token().span, "INSERT INTO … PARTITION is not supported yet"));
    }
    let mut columns = Vec::new();
    // `(a, b)` are columns, `(SELECT …` is the query.
    if p.peek_token().token == Token::LParen && !is_query(&p.peek_nth_token(1)) {
        p.next_token();
        loop {
            columns.push(p.parse_identifier().map_err(|e| parser_fault(&e, end))?);
            if !p.consume_token(&Token::Comma) {
                break;
            }
        }
        p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, end))?;
    }
    let query = p.parse_query().map_err(|e| parser_fault(&e, end))?;
    Ok(Statement::Insert(InsertDef { place, table, columns, query }))
}

fn is_query(token: &TokenWithSpan) -> bool {
    ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(token, w)) || token.token == Token::LParen
}

/// A table's or view's name, without a catalog or database.
pub(crate) fn name(p: &mut Parser, end: Place) -> Result<Ident, Fault> {
    let name = p.parse_object_name(false).map_err(|e| parser_fault(&e, end))?;
    simple_name(&name).cloned()
}

/// The only part of a name.
pub(crate) fn simple_name(name: &datafusion_sql::sqlparser::ast::ObjectName) -> Result<&Ident, Fault> {
    use datafusion_sql::sqlparser::ast::{ObjectNamePart, Spanned};
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(ident),
        _ => Err(Fault::new(
            name.span(),
            format!("{name} names a catalog or database, which are not supported"),
        )
        .hint("use the table's name alone")),
    }
}

/// `COMMENT '…'`, if it is there.
pub(crate) fn comment(p: &mut Parser, end: Place) -> Result<(), Fault> {
    if p.parse_keyword(Keyword::COMMENT) {
        p.parse_literal_string().map_err(|e| parser_fault(&e, end))?;
    }
    Ok(())
}

/// Whether the next token is this word.
pub(crate) fn word(p: &Parser, text: &str) -> bool {
    is_word(&p.peek_token(), text)
}

fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(text))
}

/// The parser's error with its place, which it only has in its text.
pub(crate) fn parser_fault(error: &ParserError, end: Place) -> Fault {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, at)) => (message, location(at).unwrap_or(end)),
        None => (text, end),
    };
    let message = message.replace("Expected: ", "expected ").replace(", found: ", ", found ");
    Fault::new(place, message.replace("found EOF", "found the end of the statement"))
}

fn location(at: &str) -> Option<Place> {
    let (line, column) = at.split_once(", Column: ")?;
    Some(Place { line: line.trim().parse().ok()?, column: column.trim().parse().ok()?, length: 1 })
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

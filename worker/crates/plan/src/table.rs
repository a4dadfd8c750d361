//! `CREATE TABLE` as Flink writes it.

use arrow_schema::Field;
use datafusion_sql::sqlparser::ast::{Expr, Ident};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use crate::problem::{Fault, Place};
use crate::script::{comment, name, parser_fault, word};
use crate::types::parse_type;

/// A declared table.
pub(crate) struct TableDef {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) watermark: Option<WatermarkDef>,
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) partitioned_by: Vec<Ident>,
    pub(crate) options: Vec<OptionDef>,
    pub(crate) if_not_exists: bool,
}

/// A column: physical or computed.
pub(crate) struct ColumnDef {
    pub(crate) name: Ident,
    pub(crate) kind: ColumnKind,
}

/// Where a column's values come from.
pub(crate) enum ColumnKind {
    Physical(Field),
    Computed(Box<Expr>),
}

/// `WATERMARK FOR column AS expression`.
pub(crate) struct WatermarkDef {
    pub(crate) column: Vec<Ident>,
    pub(crate) expression: Expr,
}

/// One option of `WITH`, with the place of its key and of its value.
pub(crate) struct OptionDef {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) place: Place,
    pub(crate) value_place: Place,
}

/// Parses what follows `CREATE TABLE [IF NOT EXISTS]`.
pub(crate) fn parse_table(p: &mut Parser, if_not_exists: bool, end: Place) -> Result<TableDef, Fault> {
    let mut table = TableDef {
        name: name(p, end)?,
        columns: Vec::new(),
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: Vec::new(),
        if_not_exists,
    };
    if p.consume_token(&Token::LParen) {
        loop {
            item(p, &mut table, end)?;
            if !p.consume_token(&Token::Comma) {
                break;
            }
        }
        p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, end))?;
    }
    comment(p, end)?;
    if word(p, "DISTRIBUTED") {
        return Err(Fault::new(p.peek_token().span, "DISTRIBUTED is not supported yet"));
    }
    if p.parse_keyword(Keyword::PARTITIONED) {
        p.expect_keyword(Keyword::BY).map_err(|e| parser_fault(&e, end))?;
        table.partitioned_by = names(p, end)?;
    }
    if p.parse_keyword(Keyword::WITH) {
        table.options = options(p, end)?;
    }
    if word(p, "LIKE") || word(p, "AS") {
        let token = p.peek_token();
        return Err(Fault::new(token.span, format!("CREATE TABLE … {token} is not supported yet")));
    }
    Ok(table)
}

fn item(p: &mut Parser, table: &mut TableDef, end: Place) -> Result<(), Fault> {
    let place = Place::of(p.peek_token().span);
    if word(p, "WATERMARK") {
        p.next_token();
        p.expect_keyword(Keyword::FOR).map_err(|e| parser_fault(&e, end))?;
        let mut column = vec![p.parse_identifier().map_err(|e| parser_fault(&e, end))?];
        while p.consume_token(&Token::Period) {
            column.push(p.parse_identifier().map_err(|e| parser_fault(&e, end))?);
        }
        p.expect_keyword(Keyword::AS).map_err(|e| parser_fault(&e, end))?;
        let expression = p.parse_expr().map_err(|e| parser_fault(&e, end))?;
        if table.watermark.is_some() {
            return Err(Fault::new(place, "a table has one WATERMARK at most"));
        }
        table.watermark = Some(WatermarkDef { column, expression });
        return Ok(());
    }
    if p.parse_keyword(Keyword::CONSTRAINT) {
        p.parse_identifier().map_err(|e| parser_fault(&e, end))?;
    }
    if p.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
        let key = names(p, end)?;
        not_enforced(p, place)?;
        return set_key(table, key, place);
    }
    if word(p, "UNIQUE") {
        return Err(Fault::new(place, "UNIQUE is not supported").hint("PRIMARY KEY (…) NOT ENFORCED is"));
    }
    column(p, table, end)
}

fn column(p: &mut Parser, table: &mut TableDef, end: Place) -> Result<(), Fault> {
    let column = p.parse_identifier().map_err(|e| parser_fault(&e, end))?;
    if let Some(twin) = table.columns.iter().find(|c| c.name.value == column.value) {
        return Err(Fault::new(column.span, format!("the table has two columns `{}`", column.value))
            .hint(format!("the first one is on line {}", twin.name.span.start.line)));
    }
    if p.parse_keyword(Keyword::AS) {
        let expression = p.parse_expr().map_err(|e| parser_fault(&e, end))?;
        comment(p, end)?;
        table.columns.push(ColumnDef { name: column, kind: ColumnKind::Computed(Box::new(expression)) });
        return Ok(());
    }
    let declared = parse_type(p)?;
    if word(p, "METADATA") {
        return Err(Fault::new(p.peek_token().span, "METADATA columns are not supported yet"));
    }
    let mut nullable = declared.nullable;
    let place = Place::of(p.peek_token().span);
    if p.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
        not_enforced(p, place)?;
        nullable = false;
        set_key(table, vec![column.clone()], place)?;
    }
    comment(p, end)?;
    let field = Field::new(&column.value, declared.data_type, nullable);
    table.columns.push(ColumnDef { name: column, kind: ColumnKind::Physical(field) });
    Ok(())
}

fn not_enforced(p: &mut Parser, place: Place) -> Result<(), Fault> {
    if p.parse_keyword(Keyword::NOT) && p.parse_keyword(Keyword::ENFORCED) {
        return Ok(());
    }
    Err(Fault::new(place, "a primary key is not checked, and must say so")
        .hint("write PRIMARY KEY … NOT ENFORCED"))
}

fn set_key(table: &mut TableDef, key: Vec<Ident>, place: Place) -> Result<(), Fault> {
    if !table.primary_key.is_empty() {
        return Err(Fault::new(place, "a table has one primary key at most"));
    }
    table.primary_key = key;
    Ok(())
}

fn names(p: &mut Parser, end: Place) -> Result<Vec<Ident>, Fault> {
    p.expect_token(&Token::LParen).map_err(|e| parser_fault(&e, end))?;
    let mut names = Vec::new();
    loop {
        names.push(p.parse_identifier().map_err(|e| parser_fault(&e, end))?);
        if !p.consume_token(&Token::Comma) {
            break;
        }
    }
    p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, end))?;
    Ok(names)
}

fn options(p: &mut Parser, end: Place) -> Result<Vec<OptionDef>, Fault> {
    p.expect_token(&Token::LParen).map_err(|e| parser_fault(&e, end))?;
    let mut options: Vec<OptionDef> = Vec::new();
    loop {
        let key = p.next_token();
        let Token::SingleQuotedString(name) = &key.token else {
            return Err(Fault::new(Place::of(key.span).or(end), "an option's key is in quotes")
                .hint("write 'key' = 'value'"));
        };
        p.expect_token(&Token::Eq).map_err(|e| parser_fault(&e, end))?;
        let value = p.next_token();
        let Token::SingleQuotedString(text) = value.token else {
            return Err(Fault::new(
                Place::of(value.span).or(end),
                format!("the value of the option '{name}' is in quotes"),
            )
            .hint("write 'key' = 'value'"));
        };
        if options.iter().any(|o| o.key == *name) {
            return Err(Fault::new(key.span, format!("the option '{name}' is there twice")));
        }
        options.push(OptionDef {
            key: name.clone(),
            value: text,
            place: Place::of(key.span),
            value_place: Place::of(value.span),
        });
        if !p.consume_token(&Token::Comma) {
            break;
        }
    }
    p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, end))?;
    Ok(options)
}

//! The clauses of a query: what is supported is rewritten, the rest is refused where it stands.

use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, TableWithJoins, Value,
};

use crate::desugar::Desugar;
use crate::problem::{Fault, Place};
use crate::window_tvf;

/// The names of a SELECT's columns so far.
#[derive(Default)]
struct Names {
    taken: Vec<String>,
    unnamed: usize,
}

impl Names {
    /// The name, or if it is taken already, the name with the first number that is free, as in Flink.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut n = 0;
        while self.taken.contains(&free) {
            free = format!("{name}{n}");
            n += 1;
        }
        self.taken.push(free.clone());
        free
    }
}

impl Desugar {
    /// Rewrites a query.
    pub(crate) fn query(&mut self, query: &mut Query) {
        if let Some(with) = &mut query.with {
            if with.recursive {
                self.refuse(with.with_token.0.span, "WITH RECURSIVE");
            }
            for cte in &mut with.cte_tables {
                self.query(&mut cte.query);
            }
        }
        if let Some(order) = &query.order_by {
            self.refuse(order.span(), "ORDER BY");
        }
        if let Some(limit) = &query.limit_clause {
            self.refuse(limit.span(), "LIMIT");
        }
        if let Some(fetch) = &query.fetch {
            let place = fetch.quantity.as_ref().map_or(query.body.span(), Spanned::span);
            self.refuse(place, "FETCH");
        }
        let place = Place::of(query.body.span());
        let odd = !query.locks.is_empty() || query.for_clause.is_some() || query.settings.is_some();
        if odd || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
            self.refuse(place, "a clause of this query");
        }
        self.set_expr(&mut query.body);
    }

    fn set_expr(&mut self, body: &mut SetExpr) {
        let place = Place::of(body.span());
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                if *op != SetOperator::Union || *set_quantifier != SetQuantifier::All {
                    let what = match set_quantifier {
                        SetQuantifier::None => format!("{op}"),
                        other => format!("{op} {other}"),
                    };
                    self.faults.push(
                        Fault::new(
                            Place::of(right.span()),
                            format!("{what} before this query is not supported yet"),
                        )
                        .hint("UNION ALL is"),
                    );
                }
                self.set_expr(left);
                self.set_expr(right);
            }
            SetExpr::Values(_) => self.refuse(place, "VALUES"),
            SetExpr::Table(_) => self.refuse(place, "TABLE as a query"),
            _ => self.refuse(place, "this query"),
        }
    }

    fn select(&mut self, select: &mut Select) {
        let start = Place::of(select.select_token.0.span);
        self.refuse_clauses(select, start);
        match select.from.as_mut_slice() {
            [from] => self.from(from),
            [] => self.faults.push(Fault::new(start, "a SELECT without FROM is not supported yet")),
            [_, second, ..] => {
                let place = Place::of(second.span());
                self.refuse(place, "a join");
            }
        }
        let mut names = Names::default();
        self.aggregates_allowed = true;
        for item in &mut select.projection {
            self.item(item, &mut names);
        }
        if let Some(having) = &mut select.having {
            self.expr(having);
        }
        self.aggregates_allowed = false;
        if let Some(selection) = &mut select.selection {
            self.expr(selection);
        }
        match &mut select.group_by {
            GroupByExpr::Expressions(keys, modifiers) => {
                if !modifiers.is_empty() {
                    self.refuse(start, "GROUP BY … WITH");
                }
                for key in keys {
                    self.group_key(key);
                }
            }
            GroupByExpr::All(_) => self.refuse(start, "GROUP BY ALL"),
        }
    }

    fn refuse_clauses(&mut self, select: &Select, start: Place) {
        match &select.distinct {
            Some(Distinct::Distinct) => self.refuse(start, "SELECT DISTINCT"),
            Some(Distinct::On(_)) => self.refuse(start, "SELECT DISTINCT ON"),
            Some(Distinct::All) | None => {}
        }
        if let Some(window) = select.named_window.first() {
            self.refuse(window.span(), "WINDOW");
        }
        if let Some(qualify) = &select.qualify {
            self.refuse(qualify.span(), "QUALIFY");
        }
        let odd = select.top.is_some()
            || select.into.is_some()
            || select.prewhere.is_some()
            || select.exclude.is_some()
            || select.value_table_mode.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        if odd {
            self.refuse(start, "a clause of this SELECT");
        }
    }

    fn group_key(&mut self, key: &mut Expr) {
        let place = Place::of(key.span());
        if let Expr::Function(f) = key {
            let name = f.name.to_string().to_uppercase();
            if ["TUMBLE", "HOP", "SESSION"].contains(&name.as_str()) {
                self.faults.push(
                    Fault::new(Place::of(f.name.span()), format!("{name} in GROUP BY is not supported yet"))
                        .hint("use FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …)) and GROUP BY window_start, window_end"),
                );
                return;
            }
        }
        if matches!(key, Expr::Value(v) if matches!(v.value, Value::Number(..))) {
            self.fault(place, "GROUP BY takes expressions, not positions");
            return;
        }
        self.expr(key);
    }

    /// Names a column of a SELECT as Flink does.
    fn item(&mut self, item: &mut SelectItem, names: &mut Names) {
        match item {
            SelectItem::UnnamedExpr(e) => {
                let (own, plain) = match e {
                    Expr::Identifier(name) => (name.value.clone(), true),
                    Expr::CompoundIdentifier(parts) => {
                        (parts.last().map(|p| p.value.clone()).unwrap_or_default(), false)
                    }
                    _ => {
                        names.unnamed += 1;
                        (format!("EXPR${}", names.unnamed - 1), false)
                    }
                };
                let name = names.free(&own);
                self.expr(e);
                if !plain || name != own {
                    *item =
                        SelectItem::ExprWithAlias { expr: e.clone(), alias: Ident::with_quote('`', name) };
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                alias.value = names.free(&alias.value);
                self.expr(expr);
            }
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                let plain = options.opt_exclude.is_none()
                    && options.opt_except.is_none()
                    && options.opt_replace.is_none()
                    && options.opt_rename.is_none()
                    && options.opt_ilike.is_none();
                if !plain {
                    let place = Place::of(options.wildcard_token.0.span);
                    self.refuse(place, "* with EXCEPT, REPLACE or RENAME");
                }
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                let place = Place::of(expr.span());
                self.refuse(place, "an expression with several names");
            }
        }
    }

    fn from(&mut self, from: &mut TableWithJoins) {
        if let Some(join) = from.joins.first() {
            self.refuse(join.relation.span(), "a join");
        }
        let place = Place::of(from.relation.span());
        match &mut from.relation {
            TableFactor::Table { args: None, version, sample, with_ordinality: false, .. } => {
                if version.is_some() {
                    self.refuse(place, "FOR SYSTEM_TIME AS OF");
                }
                if sample.is_some() {
                    self.refuse(place, "TABLESAMPLE");
                }
            }
            TableFactor::Derived { lateral: false, subquery, sample: None, .. } => self.query(subquery),
            TableFactor::TableFunction { expr, alias } => match window_tvf::read(expr) {
                Ok(tvf) => {
                    let name = window_tvf::table_name(self.windows.len());
                    self.windows.push(tvf);
                    let name = ObjectName::from(vec![Ident::with_quote('`', name)]);
                    from.relation = TableFactor::Table {
                        name,
                        alias: alias.take(),
                        args: None,
                        with_hints: Vec::new(),
                        version: None,
                        with_ordinality: false,
                        partitions: Vec::new(),
                        json_path: None,
                        sample: None,
                        index_hints: Vec::new(),
                    };
                }
                Err(fault) => self.faults.push(fault),
            },
            TableFactor::UNNEST { .. } => self.refuse(place, "UNNEST"),
            TableFactor::MatchRecognize { .. } => self.refuse(place, "MATCH_RECOGNIZE"),
            TableFactor::Derived { .. } | TableFactor::Function { .. } => self.refuse(place, "LATERAL"),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => self.refuse(place, "PIVOT"),
            _ => self.refuse(place, "this form of FROM"),
        }
    }
}

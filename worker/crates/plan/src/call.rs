//! A function or operator at its place in the text. Queries are rewritten so that every operator,
//! literal, cast and function is such a call before names are resolved: then each has Flink's type
//! from the start, and each problem has its place.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};
use weir_dataflow::transforms::aggregate_call::AggregateFunction;

use crate::problem::{Fault, Place};
use crate::types::{Declared, sql_name};

/// An argument's type.
#[derive(Debug, Clone)]
pub(crate) struct Arg {
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
}

/// What a call makes of its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Typing {
    /// What each argument is cast to first.
    pub(crate) args: Vec<DataType>,
    pub(crate) result: DataType,
    pub(crate) nullable: bool,
}

/// What is fixed when a call is parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Param {
    None,
    /// A literal's value.
    Literal(ScalarValue),
    /// The target of a cast.
    Type(Declared),
    /// A field name, a time unit, a pattern.
    Text(String),
}

/// DataFusion's expression of the same meaning, if it has one for these types. The arguments are
/// already of the types that `typing` asks for.
pub(crate) type Native = fn(&Call, &[Expr], &Typing) -> std::result::Result<Option<Expr>, String>;

/// Code of ours for what DataFusion means otherwise.
pub(crate) type Evaluate = fn(&Eval) -> std::result::Result<ArrayRef, String>;

/// A function or operator.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// Fewest and most arguments.
    pub(crate) arity: (usize, usize),
    pub(crate) typing: fn(&Call, &[Arg]) -> std::result::Result<Typing, String>,
    pub(crate) native: Option<Native>,
    pub(crate) eval: Option<Evaluate>,
}

/// A batch of arguments.
pub(crate) struct Eval<'a> {
    pub(crate) call: &'a Call,
    pub(crate) args: &'a [ColumnarValue],
    pub(crate) rows: usize,
    pub(crate) result: &'a DataType,
}

impl Eval<'_> {
    /// An argument as a column.
    pub(crate) fn array(&self, i: usize) -> std::result::Result<ArrayRef, String> {
        self.args[i].to_array(self.rows).map_err(|e| e.strip_backtrace())
    }

    /// A constant argument's text.
    pub(crate) fn constant(&self, i: usize) -> Option<&str> {
        match &self.args[i] {
            ColumnarValue::Scalar(ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text))) => {
                Some(text)
            }
            _ => None,
        }
    }
}

/// A call at its place.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) param: Param,
    pub(crate) place: Place,
    name: String,
    signature: Signature,
}

impl Call {
    /// The `number` makes the name unique within a job.
    pub(crate) fn new(function: &'static Function, param: Param, place: Place, number: usize) -> Self {
        let name = format!("{}#{number}", function.name);
        Self { function, param, place, name, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The call's types.
    pub(crate) fn typing(&self, args: &[Arg]) -> std::result::Result<Typing, Fault> {
        (self.function.typing)(self, args).map_err(|message| Fault::new(self.place, message))
    }
}

/// Calls are the same if they compute the same: where they stand does not matter.
impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name && self.param == other.param
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
        self.param.hash(state);
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.function.name, self.param)
    }
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Without the place, so that equal expressions have equal names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(|a| a.schema_name().to_string()).collect();
        let param = match &self.param {
            Param::None => String::new(),
            Param::Literal(value) => format!("{value:?}"),
            other => format!("{other:?}"),
        };
        Ok(format!("{}{param}({})", self.function.name, args.join(", ")))
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let args: Vec<_> = args.iter().map(|t| Arg { data_type: t.clone(), nullable: true }).collect();
        Ok(self.typing(&args).map_err(external)?.result)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let args: Vec<_> = args
            .arg_fields
            .iter()
            .map(|f| Arg { data_type: f.data_type().clone(), nullable: f.is_nullable() })
            .collect();
        let typing = self.typing(&args).map_err(external)?;
        Ok(Arc::new(Field::new(&self.name, typing.result, typing.nullable)))
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(args.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(eval) = self.function.eval else {
            return Err(DataFusionError::Internal(format!("{} is not evaluated by itself", self.name)));
        };
        // Constants are computed once, not once per row.
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let eval_args = Eval { call: self, args: &args.args, rows, result: args.return_field.data_type() };
        let array = eval(&eval_args).map_err(DataFusionError::Execution)?;
        if constant {
            return ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// An aggregate call at its place. For planning only: the engine has its own accumulators.
#[derive(Debug, Clone)]
pub(crate) struct AggregateAt {
    pub(crate) function: AggregateFunction,
    /// `COUNT(*)`.
    pub(crate) star: bool,
    pub(crate) place: Place,
    name: String,
    signature: Signature,
}

impl AggregateAt {
    pub(crate) fn new(function: AggregateFunction, star: bool, place: Place, number: usize) -> Self {
        let name = format!("{function}#{number}");
        Self { function, star, place, name, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn result(&self, input: Option<&DataType>) -> Result<DataType> {
        let input = if self.star { None } else { input };
        self.function.output_type(input).map_err(|message| {
            let message = match input {
                Some(t) => message.replace(&t.to_string(), &sql_name(t)),
                None => message,
            };
            external(Fault::new(self.place, message))
        })
    }
}

impl PartialEq for AggregateAt {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function && self.star == other.star
    }
}

impl Eq for AggregateAt {}

impl Hash for AggregateAt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
        self.star.hash(state);
    }
}

impl AggregateUDFImpl for AggregateAt {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, params: &datafusion_expr::expr::AggregateFunctionParams) -> Result<String> {
        let args: Vec<_> = params.args.iter().map(|a| a.schema_name().to_string()).collect();
        let filter =
            params.filter.as_ref().map(|f| format!(" FILTER {}", f.schema_name())).unwrap_or_default();
        let star = if self.star { "*" } else { "" };
        Ok(format!("{}({star}{}){filter}", self.function, args.join(", ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.result(args.first())
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let result = self.result(args.first().map(|f| f.data_type()))?;
        // Without GROUP BY, or with FILTER, there may be no value: only a count always has one.
        Ok(Arc::new(Field::new(&self.name, result, self.function != AggregateFunction::Count)))
    }

    fn is_nullable(&self) -> bool {
        self.function != AggregateFunction::Count
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(args.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Err(DataFusionError::Internal("aggregates are computed by the engine".into()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(Vec::new())
    }
}

/// A fault on its way through DataFusion.
pub(crate) fn external(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

/// The call that a DataFusion function is.
pub(crate) fn of_udf(udf: &datafusion_expr::ScalarUDF) -> Option<&Call> {
    (udf.inner().as_ref() as &dyn Any).downcast_ref()
}

/// The aggregate that a DataFusion aggregate is.
pub(crate) fn of_udaf(udaf: &datafusion_expr::AggregateUDF) -> Option<&AggregateAt> {
    (udaf.inner().as_ref() as &dyn Any).downcast_ref()
}

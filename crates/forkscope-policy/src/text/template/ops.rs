//! The environment of a render: counted operators, and filters, tests and
//! methods that are charged before and after they run.

use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::value::{Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Expression, State, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::bounds::{charge_emit, charge_read, charge_text, charge_value, refuse};
use super::helpers;

/// Filters that templates may use; the rest of minijinja's has no use in a
/// prompt. `join`, `replace`, `indent` and `format` are checked for growth.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "trim",
    "unique",
    "upper",
];

const TESTS: &[&str] = &[
    "undefined",
    "defined",
    "none",
    "boolean",
    "odd",
    "even",
    "divisibleby",
    "number",
    "integer",
    "float",
    "string",
    "sequence",
    "iterable",
    "mapping",
    "startingwith",
    "endingwith",
    "lower",
    "upper",
    "sameas",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    "greaterthan",
    ">",
    "ge",
    ">=",
    "in",
    "true",
    "false",
    "filter",
    "test",
];

/// The stock environment, on which the counted versions call.
static STOCK: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut stock = Environment::new();
    stock.set_debug(false);
    stock
});

/// A state in which stock functions can be called.
pub(super) fn stock_state() -> State<'static, 'static> {
    STOCK.empty_state()
}

struct Operators {
    add: Expression<'static, 'static>,
    mul: Expression<'static, 'static>,
    item: Expression<'static, 'static>,
    slice: Expression<'static, 'static>,
    contains: Expression<'static, 'static>,
}

static OPERATORS: LazyLock<Result<Operators, Error>> = LazyLock::new(|| {
    Ok(Operators {
        add: STOCK.compile_expression("a + b")?,
        mul: STOCK.compile_expression("a * b")?,
        item: STOCK.compile_expression("a[b]")?,
        slice: STOCK.compile_expression("a[b:c:d]")?,
        contains: STOCK.compile_expression("a in b")?,
    })
});

/// An environment in which every operation is counted.
pub(super) fn environment(fuel: u64) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_debug(false);
    env.set_fuel(Some(fuel));
    env.set_recursion_limit(200);
    env.set_unknown_method_callback(method);
    env.set_formatter(|out, state, value| {
        charge_emit(state, value)?;
        minijinja::escape_formatter(out, state, value)
    });
    for name in [
        "add", "mul", "concat", "eq", "ne", "lt", "lte", "gt", "gte", "in", "item",
    ]
    .into_iter()
    .chain(["slice", "list", "tuple", "map"])
    {
        env.add_filter(
            format!("={name}"),
            move |state: &mut State, args: Rest<ValueOrKwargs>| {
                operator(state, name, args.into_values())
            },
        );
    }
    for &name in FILTERS {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            filter(state, name, &args.into_values())
        });
    }
    for &name in TESTS {
        env.add_test(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            charge_read(state, &args)?;
            stock_state().perform_test(name, &args)
        });
    }
    helpers::install(&mut env);
    env
}

fn operator(state: &mut State, name: &str, mut args: Vec<Value>) -> Result<Value, Error> {
    match (name, args.as_slice()) {
        // Looking into a list or a mapping does not read all of it.
        ("item", [a, b]) if a.as_str().is_none() => charge_read(state, std::slice::from_ref(b))?,
        _ => charge_read(state, &args)?,
    };
    let operators = OPERATORS
        .as_ref()
        .map_err(|error| refuse(error.to_string()))?;
    let made = match (name, args.as_slice()) {
        ("list", _) => Value::from(args),
        ("tuple", _) => Value::from(Tuple::from(args)),
        ("map", _) => {
            let mut pairs = Vec::with_capacity(args.len() / 2);
            while let (Some(value), Some(key)) = (args.pop(), args.pop()) {
                pairs.push((key, value));
            }
            Value::from_pairs(pairs.into_iter().rev())
        }
        ("add", [a, b]) => match (a.as_str(), b.as_str()) {
            (Some(x), Some(y)) => return text(state, &[x, y]),
            _ => operators.add.eval(context! { a, b })?,
        },
        ("concat", [a, b]) => {
            let (x, y) = (a.to_string(), b.to_string());
            return text(state, &[&x, &y]);
        }
        ("mul", [a, b]) => {
            check_repetition(state, a, b)?;
            operators.mul.eval(context! { a, b })?
        }
        ("item", [a, b]) => return operators.item.eval(context! { a, b }),
        ("in", [a, b]) => return operators.contains.eval(context! { a, b }),
        ("slice", [a, b, c, d]) => operators.slice.eval(context! { a, b, c, d })?,
        ("eq", [a, b]) => return Ok(Value::from(a == b)),
        ("ne", [a, b]) => return Ok(Value::from(a != b)),
        ("lt", [a, b]) => return Ok(Value::from(a < b)),
        ("lte", [a, b]) => return Ok(Value::from(a <= b)),
        ("gt", [a, b]) => return Ok(Value::from(a > b)),
        ("gte", [a, b]) => return Ok(Value::from(a >= b)),
        _ => return Err(Error::from(ErrorKind::MissingArgument)),
    };
    charge_value(state, made)
}

fn text(state: &mut State, parts: &[&str]) -> Result<Value, Error> {
    charge_text(state, parts.iter().map(|part| part.len() as u64).sum())?;
    Ok(Value::from(parts.concat()))
}

/// `"ab" * n` and `[..] * n`: the result is charged before it exists.
fn check_repetition(state: &mut State, a: &Value, b: &Value) -> Result<(), Error> {
    for (repeated, times) in [(a, b), (b, a)] {
        let size = match (repeated.as_str(), repeated.kind()) {
            (Some(text), _) => text.len() as u64,
            (None, ValueKind::Seq | ValueKind::Iterable) => {
                32 * repeated.len().unwrap_or(1).max(1) as u64
            }
            _ => continue,
        };
        let times = times.as_usize().unwrap_or(0) as u64;
        charge_text(state, size.saturating_mul(times))?;
    }
    Ok(())
}

fn filter(state: &mut State, name: &str, args: &[Value]) -> Result<Value, Error> {
    charge_read(state, args)?;
    check_growth(state, name, args)?;
    let made = stock_state().apply_filter(name, args)?;
    charge_value(state, made)
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let mut all = vec![value.clone()];
    all.extend(args.iter().cloned());
    charge_read(state, &all)?;
    if value.as_str().is_some() {
        if name == "join" {
            all.rotate_left(1);
        }
        check_growth(state, name, &all)?;
    }
    let made = match (name, value.as_str(), args.first().and_then(Value::as_str)) {
        ("removeprefix", Some(s), Some(x)) => Value::from(s.strip_prefix(x).unwrap_or(s)),
        ("removesuffix", Some(s), Some(x)) => Value::from(s.strip_suffix(x).unwrap_or(s)),
        _ => unknown_method_callback(state, value, name, args)?,
    };
    charge_value(state, made)
}

/// Charges for the text that `replace`, `join`, `indent` and `format` would
/// make; every other filter makes no more than it reads.
fn check_growth(state: &mut State, name: &str, args: &[Value]) -> Result<(), Error> {
    let string = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or("");
    let length = |i: usize| string(i).len() as u64;
    match name {
        "replace" => {
            let found = string(0).matches(string(1)).count() as u64;
            charge_text(
                state,
                length(0).saturating_add(found.saturating_mul(length(2))),
            )
        }
        "join" => {
            let items = args.first().and_then(Value::len).unwrap_or(0) as u64;
            let joiner = args.get(1).map_or(0, count_bytes);
            charge_text(state, items.saturating_mul(joiner))
        }
        "indent" => {
            let width = args
                .iter()
                .skip(1)
                .filter_map(largest_number)
                .max()
                .unwrap_or(4);
            let lines = string(0).matches('\n').count() as u64 + 1;
            charge_text(state, length(0).saturating_add(lines.saturating_mul(width)))
        }
        "batch" => {
            let count = args
                .iter()
                .skip(1)
                .filter_map(largest_number)
                .max()
                .unwrap_or(1);
            charge_text(state, count.saturating_mul(32))
        }
        "format" if has_wide_field(string(0)) => {
            Err(refuse("a format string asks for a field wider than 999"))
        }
        _ => Ok(()),
    }
}

/// Bytes of a value's text.
fn count_bytes(value: &Value) -> u64 {
    struct Count(u64);
    impl std::fmt::Write for Count {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 += text.len() as u64;
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = write!(count, "{value}");
    count.0
}

/// A number, or the largest number among keyword arguments.
fn largest_number(value: &Value) -> Option<u64> {
    if value.kind() == ValueKind::Map {
        return value
            .try_iter()
            .ok()?
            .filter_map(|key| value.get_item(&key).ok())
            .filter_map(|v| v.as_usize())
            .max()
            .map(|n| n as u64);
    }
    value.as_usize().map(|n| n as u64)
}

/// Widths taken from arguments (`%*d`, `{:{w}}`) or of four digits and more.
fn has_wide_field(format: &str) -> bool {
    let literal_braces_gone = format.replace("{{", "").replace("}}", "");
    let mut depth = 0usize;
    for c in literal_braces_gone.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 1 {
            return true;
        }
    }
    let digits = format
        .split(|c: char| !c.is_ascii_digit())
        .any(|run| run.len() > 3);
    digits || format.contains('*')
}

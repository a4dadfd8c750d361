//! What people are told of each function: one line of meaning, and an example that a test evaluates.

/// A function or operator for the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionHelp {
    /// Which group of the documents it belongs to.
    pub group: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it gives.
    pub meaning: &'static str,
    /// An expression without columns.
    pub example: &'static str,
    /// The example's type.
    pub data_type: &'static str,
    /// The example's value as `CAST(… AS STRING)` gives it.
    pub value: &'static str,
    /// Its names in the list of functions, and others that mean the same.
    pub(super) names: &'static [&'static str],
}

/// All functions and operators, in the order of the documents.
pub const FUNCTIONS: &[FunctionHelp] = ALL;

const CONDITIONS: &str = "Conditions";
const NUMBERS: &str = "Numbers";
const TEXT: &str = "Text";
const TIME: &str = "Time";
const TYPES: &str = "Types";

type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const fn of(group: &'static str, row: Row) -> FunctionHelp {
    let (form, meaning, example, data_type, value, names) = row;
    FunctionHelp { group, form, meaning, example, data_type, value, names }
}

/// A list of rows below each group.
macro_rules! help {
    ($( $group:ident { $( $row:expr; )* } )*) => {
        const ALL: &[FunctionHelp] = &[$( $( of($group, $row), )* )*];
    };
}

help! {
    CONDITIONS {
        ("a = b, a <> b, a < b, a <= b, a > b, a >= b", "comparison; unknown (NULL) if a or b is NULL", "2 <= 3", "BOOLEAN", "TRUE", &["=", "<>", "<", "<=", ">", ">="]);
        ("a IS [NOT] DISTINCT FROM b", "comparison in which NULL is a value like others", "NULL IS DISTINCT FROM 1", "BOOLEAN", "TRUE", &["IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
        ("a IS [NOT] NULL", "whether a is NULL", "NULLIF(1, 1) IS NULL", "BOOLEAN", "TRUE", &["IS NULL", "IS NOT NULL"]);
        ("a IS [NOT] TRUE, FALSE, UNKNOWN", "what a condition came to; never NULL", "(1 = 2) IS NOT TRUE", "BOOLEAN", "TRUE", &["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN", "IS NOT UNKNOWN"]);
        ("a AND b, a OR b, NOT a", "logic with three values, decided from left to right: b is not computed for rows that a settles", "NOT (TRUE AND FALSE)", "BOOLEAN", "TRUE", &["AND", "OR", "NOT"]);
        ("a [NOT] BETWEEN b AND c", "b <= a AND a <= c", "5 BETWEEN 1 AND 5", "BOOLEAN", "TRUE", &["BETWEEN"]);
        ("a [NOT] IN (b, …)", "whether a is one of the values", "3 IN (1, 2, 3)", "BOOLEAN", "TRUE", &["IN"]);
        ("CASE WHEN c THEN a … [ELSE b] END, CASE x WHEN v THEN a … END", "the first branch whose condition is true", "CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END", "STRING", "b", &["CASE"]);
        ("IF(c, a, b)", "a if c is true, else b", "IF(1 > 2, 'a', 'b')", "STRING", "b", &["IF"]);
        ("COALESCE(a, …), IFNULL(a, b)", "the first value that is not NULL", "COALESCE(NULL, 7)", "INT", "7", &["COALESCE", "IFNULL"]);
        ("NULLIF(a, b)", "NULL if a equals b, else a", "NULLIF(7, 8)", "INT", "7", &["NULLIF"]);
        ("GREATEST(a, …)", "the greatest value; NULL if one is NULL", "GREATEST(3, 7, 5)", "INT", "7", &["GREATEST"]);
        ("LEAST(a, …)", "the least value; NULL if one is NULL", "LEAST(3, 7, 5)", "INT", "3", &["LEAST"]);
    }
    NUMBERS {
        ("a + b, a - b, a * b, -a", "arithmetic; whole numbers that are too large wrap around, decimals become NULL", "1.5 + 2.25", "DECIMAL(4, 2)", "3.75", &["+", "-", "*", "negate"]);
        ("a / b", "division; of whole numbers it is cut off; by 0 it fails (of DOUBLE it gives Infinity or NaN)", "-7 / 2", "INT", "-3", &["/"]);
        ("a % b, MOD(a, b)", "rest of a division, with the sign of a", "MOD(-7, 3)", "INT", "-1", &["MOD"]);
        ("ABS(a)", "without its sign", "ABS(-5)", "INT", "5", &["ABS"]);
        ("SIGN(a)", "-1, 0 or 1, in the type of a", "SIGN(-5)", "INT", "-1", &["SIGN"]);
        ("FLOOR(a)", "the whole number at or below a", "FLOOR(-1.5)", "DECIMAL(2, 0)", "-2", &["FLOOR"]);
        ("CEIL(a), CEILING(a)", "the whole number at or above a", "CEIL(1.2e0)", "DOUBLE", "2.0", &["CEIL", "CEILING"]);
        ("ROUND(a [, digits])", "rounded, halves away from zero; digits is a literal", "ROUND(2.345, 2)", "DECIMAL(4, 2)", "2.35", &["ROUND"]);
        ("TRUNCATE(a [, digits])", "cut off; digits is a literal", "TRUNCATE(42.345, 2)", "DECIMAL(5, 2)", "42.34", &["TRUNCATE"]);
        ("POWER(a, b), POW(a, b)", "a to the power of b", "POWER(2, 10)", "DOUBLE", "1024.0", &["POWER", "POW"]);
        ("SQRT(a)", "square root", "SQRT(9)", "DOUBLE", "3.0", &["SQRT"]);
        ("EXP(a), LN(a), LOG2(a), LOG10(a)", "e to the power of a; logarithms", "LOG10(1000)", "DOUBLE", "3.0", &["EXP", "LN", "LOG2", "LOG10"]);
        ("SIN(a), COS(a), TAN(a), ASIN(a), ACOS(a), ATAN(a), ATAN2(a, b)", "of angles in radians", "SIN(0)", "DOUBLE", "0.0", &["SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "ATAN2"]);
        ("SINH(a), COSH(a), TANH(a)", "hyperbolic functions", "COSH(0)", "DOUBLE", "1.0", &["SINH", "COSH", "TANH"]);
        ("DEGREES(a), RADIANS(a)", "from radians to degrees, and back", "DEGREES(PI())", "DOUBLE", "180.0", &["DEGREES", "RADIANS"]);
        ("PI(), E()", "the constants", "ROUND(PI(), 4)", "DOUBLE", "3.1416", &["PI", "E"]);
    }
    TEXT {
        ("a || b, CONCAT(a, …)", "one after the other; NULL if one is NULL", "CONCAT('we', 'ir')", "STRING", "weir", &["||", "CONCAT"]);
        ("CONCAT_WS(separator, a, …)", "one after the other with a separator between; NULLs are left out", "CONCAT_WS('-', 'a', 'b')", "STRING", "a-b", &["CONCAT_WS"]);
        ("UPPER(a), LOWER(a)", "in capital or small letters", "UPPER('weir')", "STRING", "WEIR", &["UPPER", "LOWER"]);
        ("INITCAP(a)", "each word with a capital letter in front", "INITCAP('hello wORLD')", "STRING", "Hello World", &["INITCAP"]);
        ("REVERSE(a)", "from its end to its start", "REVERSE('weir')", "STRING", "riew", &["REVERSE"]);
        ("CHAR_LENGTH(a), CHARACTER_LENGTH(a)", "number of characters", "CHAR_LENGTH('größe')", "INT", "5", &["CHAR_LENGTH", "CHARACTER_LENGTH"]);
        ("SUBSTRING(a, from [, length]), SUBSTRING(a FROM from [FOR length]), SUBSTR(…)", "a part; the first character is 1, a negative number counts from the end", "SUBSTRING('weir', 2, 2)", "STRING", "ei", &["SUBSTRING", "SUBSTR"]);
        ("LEFT(a, n), RIGHT(a, n)", "the first or last n characters", "LEFT('weir', 2)", "STRING", "we", &["LEFT", "RIGHT"]);
        ("TRIM([BOTH, LEADING or TRAILING] [x FROM] a), BTRIM(a), LTRIM(a [, x]), RTRIM(a [, x])", "without the spaces, or the characters of x, at its ends", "TRIM(LEADING 'x' FROM 'xxyx')", "STRING", "yx", &["TRIM", "BTRIM", "LTRIM", "RTRIM"]);
        ("REPLACE(a, b, c)", "every b replaced by c", "REPLACE('abab', 'a', 'x')", "STRING", "xbxb", &["REPLACE"]);
        ("REPEAT(a, n)", "n times", "REPEAT('ab', 3)", "STRING", "ababab", &["REPEAT"]);
        ("LPAD(a, n, x), RPAD(a, n, x)", "filled up with x, or cut off, to n characters", "LPAD('7', 3, '0')", "STRING", "007", &["LPAD", "RPAD"]);
        ("POSITION(b IN a), LOCATE(b, a), INSTR(a, b)", "where b begins in a, from 1; 0 if it is not there", "POSITION('i' IN 'weir')", "INT", "3", &["POSITION", "LOCATE", "INSTR"]);
        ("SPLIT_INDEX(a, separator, n)", "part n of a, from 0; NULL if there is none", "SPLIT_INDEX('a,b,c', ',', 1)", "STRING", "b", &["SPLIT_INDEX"]);
        ("a [NOT] LIKE pattern [ESCAPE c]", "% stands for any characters, _ for one", "'weir' LIKE 'w%r'", "BOOLEAN", "TRUE", &["LIKE"]);
        ("REGEXP(a, pattern)", "whether a part of a matches the regular expression", "REGEXP('weir', '^w.*r$')", "BOOLEAN", "TRUE", &["REGEXP"]);
        ("REGEXP_EXTRACT(a, pattern [, group])", "what the first match, or a group of it, holds; NULL without a match", "REGEXP_EXTRACT('id=12&x', 'id=([0-9]+)', 1)", "STRING", "12", &["REGEXP_EXTRACT"]);
        ("REGEXP_REPLACE(a, pattern, b)", "every match replaced by b; $1 stands for a group", "REGEXP_REPLACE('a1b22', '[0-9]+', '#')", "STRING", "a#b#", &["REGEXP_REPLACE"]);
    }
    TIME {
        ("t + INTERVAL '…' unit, t - INTERVAL '…' unit", "later or earlier", "TIMESTAMP '2026-03-01 00:00:00' - INTERVAL '1' SECOND", "TIMESTAMP(3)", "2026-02-28 23:59:59.000", &["+", "-"]);
        ("EXTRACT(unit FROM t)", "a part of a time: YEAR, QUARTER, MONTH, WEEK, DAY, DOY, DOW (Sunday is 1), HOUR, MINUTE, SECOND …", "EXTRACT(DAY FROM DATE '2020-02-29')", "BIGINT", "29", &["EXTRACT"]);
        ("YEAR(t), QUARTER(t), MONTH(t), WEEK(t), DAYOFYEAR(t), DAYOFMONTH(t), DAYOFWEEK(t), HOUR(t), MINUTE(t), SECOND(t)", "the same", "QUARTER(DATE '2020-05-01')", "BIGINT", "2", &["YEAR", "QUARTER", "MONTH", "WEEK", "DAYOFYEAR", "DAYOFMONTH", "DAYOFWEEK", "HOUR", "MINUTE", "SECOND"]);
        ("FLOOR(t TO unit)", "the start of the unit that t is in", "FLOOR(TIMESTAMP '2020-02-29 23:59:58' TO HOUR)", "TIMESTAMP(0)", "2020-02-29 23:00:00", &["FLOOR TO"]);
        ("DATE_FORMAT(t, 'pattern')", "as text; the pattern is a literal of yyyy, MM, dd, HH, mm, ss, SSS and text in quotes", "DATE_FORMAT(TIMESTAMP '2020-02-29 23:59:58', 'yyyyMMdd-HHmm')", "STRING", "20200229-2359", &["DATE_FORMAT"]);
        ("TIMESTAMPDIFF(unit, a, b)", "whole units from a to b", "TIMESTAMPDIFF(DAY, DATE '2020-01-01', DATE '2020-03-01')", "INT", "60", &["TIMESTAMPDIFF"]);
        ("TIMESTAMPADD(unit, n, t)", "n units later", "TIMESTAMPADD(HOUR, 1, TIMESTAMP '2020-02-29 23:59:58')", "TIMESTAMP(0)", "2020-03-01 00:59:58", &["TIMESTAMPADD"]);
        ("TO_TIMESTAMP(text)", "from yyyy-MM-dd HH:mm:ss; NULL if the text is no time", "TO_TIMESTAMP('2020-01-01 00:00:01')", "TIMESTAMP(3)", "2020-01-01 00:00:01.000", &["TO_TIMESTAMP"]);
        ("TO_DATE(text)", "from yyyy-MM-dd; NULL if the text is no date", "TO_DATE('2020-02-29')", "DATE", "2020-02-29", &["TO_DATE"]);
        ("TO_TIMESTAMP_LTZ(n, 0 or 3)", "from seconds (0) or milliseconds (3) since 1970", "TO_TIMESTAMP_LTZ(1000, 3)", "TIMESTAMP_LTZ(3)", "1970-01-01 00:00:01.000", &["TO_TIMESTAMP_LTZ"]);
        ("FROM_UNIXTIME(n)", "seconds since 1970 as text, in UTC", "FROM_UNIXTIME(0)", "STRING", "1970-01-01 00:00:00", &["FROM_UNIXTIME"]);
        ("UNIX_TIMESTAMP(text)", "seconds since 1970 of a text in UTC", "UNIX_TIMESTAMP('1970-01-01 00:01:00')", "BIGINT", "60", &["UNIX_TIMESTAMP"]);
    }
    TYPES {
        ("CAST(a AS type)", "as another type; text that is no value of it fails the job", "CAST('12.7' AS INT)", "INT", "12", &["CAST"]);
        ("TRY_CAST(a AS type)", "the same, but NULL instead of a failure", "TRY_CAST('x' AS INT)", "INT", "NULL", &["TRY_CAST"]);
    }
}

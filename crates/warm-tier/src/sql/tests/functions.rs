//! The functions that a statement may call, with statements as analysts write them.

use duckdb::Connection;

use super::{super::functions::FunctionAccess, super::functions::access, run, run_with};
use crate::sql::{Limits, SqlError};

#[test]
fn every_function_of_this_duckdb_is_allowed_or_refused() {
    let duckdb = Connection::open_in_memory().unwrap();
    let sql = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() \
               WHERE function_type IN ('scalar', 'aggregate', 'macro')";
    let mut names = duckdb.prepare(sql).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
    assert!(names.len() > 500, "{}", names.len());
    let unknown = names
        .iter()
        .filter(|name| access(name) == FunctionAccess::Unknown);
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn functions_that_read_the_instance_wait_or_are_unknown_are_refused() {
    for call in [
        "sleep_ms(100000)",
        "pg_sleep(100)",
        "main.sleep_ms(1)",
        "write_log('x')",
        "getenv('HOME')",
        "getvariable('x')",
        "current_setting('memory_limit')",
        "current_query()",
        "setseed(0.5)",
        "nextval('x')",
        "json_serialize_plan('SELECT 1')",
        "__internal_compress_string_utinyint('x')",
        "icu_sort_key('x', 'de')",
        "has_table_privilege('x', 'y')",
        "list_transform([1], x -> sleep_ms(x))",
        "no_such_function(1)",
        "read_text('/etc/hostname')",
    ] {
        let error = run(&format!("SELECT {call}")).unwrap_err();
        let sentence = error.to_string();
        assert!(
            matches!(error, SqlError::NotAllowed(_) | SqlError::Invalid(_))
                && sentence.contains("function"),
            "{call}: {error:?}"
        );
    }
}

const ORDINARY: &[&str] = &[
    "SELECT type, count(*) AS n, count(DISTINCT conversation_id), count_if(seq > 41) FROM events GROUP BY type ORDER BY n DESC",
    "SELECT count(*) FILTER (WHERE type = 'error') * 100.0 / count(*) FROM events",
    "SELECT date_trunc('hour', timestamp) AS h, extract(dow FROM timestamp), avg(length(content)) FROM events GROUP BY ALL",
    "SELECT time_bucket(INTERVAL 5 MINUTE, timestamp) b, sum(strlen(content)) FROM events GROUP BY b HAVING sum(strlen(content)) > 1",
    "SELECT strftime(timestamp, '%Y-%m-%d %H:%M'), strptime('2026-01-01', '%Y-%m-%d'), age(timestamp), now() - timestamp FROM events",
    "SELECT timestamp::DATE, year(timestamp), month(timestamp), dayname(timestamp), last_day(timestamp), epoch_ms(timestamp) FROM events",
    "SELECT timestamp + INTERVAL '1 day', date_diff('second', min(timestamp) OVER (), timestamp), current_date, current_timestamp FROM events",
    "SELECT to_timestamp(1700000000), make_timestamp(2026, 1, 2, 3, 4, 5.0), timezone('UTC', timestamp) FROM events",
    "SELECT conversation_id, row_number() OVER (PARTITION BY conversation_id ORDER BY seq) FROM events QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY seq DESC) = 1",
    "SELECT lag(content) OVER w, lead(seq, 1, 0) OVER w, first_value(seq) OVER w, rank() OVER w, ntile(2) OVER w FROM events WINDOW w AS (ORDER BY seq, idx)",
    "SELECT sum(seq) OVER (ORDER BY seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), avg(seq) OVER (ORDER BY timestamp RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND CURRENT ROW) FROM events",
    "SELECT lower(type), upper(type), trim(content), substring(content, 1, 2), content[1:2], left(content, 1), reverse(content) FROM events",
    "SELECT content LIKE '%o%', content ILIKE 'O%', content NOT LIKE 'x', content GLOB 't*', content SIMILAR TO 't.*' FROM events",
    "SELECT starts_with(content, 't'), contains(content, 'w'), position('o' IN content), split_part(type, '.', 1), string_split(type, '.') FROM events",
    "SELECT replace(content, 'o', '0'), translate(content, 'abc', 'xyz'), concat(type, ':', content), concat_ws('-', type, seq), type || content FROM events",
    "SELECT regexp_matches(content, '^t'), regexp_extract(content, '(.)o', 1), regexp_replace(content, '[aeiou]', '*', 'g'), regexp_extract_all(content, '.') FROM events",
    "SELECT printf('%05d', seq), format('{:.2f} {}', seq::DOUBLE, type), lpad(seq::VARCHAR, 8, '0'), rpad(type, 20, ' '), repeat('#', idx + 1), bar(seq, 0, 100) FROM events",
    "SELECT md5(content), sha256(content), hash(content), base64(encode(content)), hex(content), levenshtein(content, 'two') FROM events",
    "SELECT round(avg(seq), 2), median(seq), mode(type), stddev(seq), quantile_cont(seq, 0.95), quantile_cont(seq, [0.5, 0.99]), approx_quantile(seq, 0.5), approx_count_distinct(type) FROM events",
    "SELECT min(seq), max(seq), any_value(type), arg_max(content, seq), max_by(content, seq), first(content ORDER BY seq), bool_or(seq > 41), corr(seq, idx), histogram(type) FROM events",
    "SELECT string_agg(content, '' ORDER BY position), list(content ORDER BY seq), array_agg(DISTINCT type), list(seq)[1], group_concat(type) FROM events",
    "SELECT list_transform([1, 2, 3], x -> x * 2), list_filter([1, 2], x -> x > 1), [x + 1 FOR x IN [1, 2] IF x > 1], list_sum([1, 2]), len([1]), list_sort([2, 1]), list_contains([1], 1), flatten([[1], [2]])",
    "SELECT unnest([1, 2, 3]), unnest(range(3)), unnest(generate_series(1, 3))",
    "SELECT h, count(e.seq) FROM generate_series(TIMESTAMP '2025-11-20 00:00', TIMESTAMP '2025-11-20 23:00', INTERVAL 1 HOUR) t(h) LEFT JOIN events e ON date_trunc('hour', e.timestamp) = h GROUP BY h",
    "SELECT json_extract('{\"a\":[1,2]}', '$.a[0]'), '{\"a\":1}'->'a', '{\"a\":1}'->>'$.a', json_extract_string('{\"a\":\"x\"}', 'a'), json_array_length('[1,2]'), json_keys('{\"a\":1}'), json_valid('{'), json_type('1'), to_json({'a': 1})",
    "SELECT count(*) FROM events WHERE CASE WHEN json_valid(content) THEN json_extract(content, '$.tool') = '\"ls\"' ELSE false END",
    "SELECT {'a': 1, 'b': 'x'}.a, map {'k': 1}['k'], map_keys(map {'k': 1}), struct_pack(a := 1), row(1, 2) = row(1, 2)",
    "SELECT coalesce(NULL, 1), ifnull(NULL, 2), nullif(1, 1), greatest(1, 2), least(1, 2), if(true, 1, 2), CASE WHEN 1 = 1 THEN 'a' END, 1 IN (1, 2), 1 IS DISTINCT FROM NULL, TRY_CAST('x' AS INT), TRY(1 / 0)",
    "SELECT abs(-1), ceil(1.5), floor(1.5), sqrt(4), power(2, 3), ln(2), log(10), 7 % 3, 7 // 2, 2 ** 3, 5 & 3, 1 << 2, xor(1, 2), random() < 2, gcd(4, 6), @ -1, 3!",
    "SELECT typeof(1), uuid() IS NOT NULL, format_bytes(1024), pg_typeof(1), 'x' COLLATE NOCASE = 'X', version() IS NOT NULL, hash(1)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
    "SELECT type, seq, count(*) FROM events GROUP BY GROUPING SETS ((type), (seq), ()) ORDER BY grouping(type)",
    "SELECT type, sum(seq) FROM events GROUP BY ROLLUP (type)",
    "PIVOT (SELECT conversation_id, type, seq FROM events) ON type IN ('error', 'output.chunk') USING count(*)",
    "UNPIVOT (SELECT seq, idx FROM events) ON seq, idx INTO NAME n VALUE v",
    "SELECT * EXCLUDE (content), COLUMNS('s.*') FROM events",
    "SELECT * REPLACE (lower(type) AS type) FROM events USING SAMPLE 2 ROWS",
    "FROM events SELECT content WHERE seq > 1 ORDER BY ALL LIMIT 10 OFFSET 1",
    "SELECT a.content FROM events a ASOF JOIN events b ON a.conversation_id = b.conversation_id AND a.timestamp >= b.timestamp",
    "SELECT e.content, l.n FROM events e, LATERAL (SELECT count(*) AS n FROM events x WHERE x.type = e.type) l",
    "SELECT content FROM events UNION ALL BY NAME SELECT type AS content FROM events EXCEPT SELECT 'x' INTERSECT SELECT 'y'",
    "SELECT content FROM events WHERE conversation_id IN (SELECT conversation_id FROM events GROUP BY 1 HAVING count(*) > 1) AND EXISTS (SELECT 1)",
    "SELECT value FROM json_each('[1, 2]')",
    "SUMMARIZE SELECT type, seq FROM events",
];

#[test]
fn common_statements_of_analysts_run() {
    let failed = |sql: &&str| Some(format!("{sql}: {}", run(sql).err()?));
    let failed: Vec<String> = ORDINARY.iter().filter_map(failed).collect();
    assert_eq!(failed, Vec::<String>::new());
}

/// Without a separate process that is killed, a statement is still interrupted between two calls.
#[test]
fn nested_calls_over_many_rows_end_in_time() {
    let short = Limits {
        timeout: std::time::Duration::from_millis(300),
        ..super::limits()
    };
    let sql = "SELECT sum(length(regexp_replace(md5(i::VARCHAR), '.', 'xx', 'g'))) FROM range(100000000) t(i)";
    let error = run_with(short, sql).unwrap_err();
    assert!(matches!(error, SqlError::Timeout(_)), "{error:?}");
}

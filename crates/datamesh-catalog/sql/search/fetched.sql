SELECT file, sum(count) AS times, max(last) AS latest FROM fetched
WHERE day >= ?1 GROUP BY file ORDER BY times DESC, latest DESC, file LIMIT ?2

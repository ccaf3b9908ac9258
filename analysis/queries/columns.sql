-- columns of v_run: what conditions, rows and columns of a table may name
SELECT name, type FROM pragma_table_info('v_run');

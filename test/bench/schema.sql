CREATE TABLE wide (a int, b text, c text, d timestamptz);
CREATE TABLE single (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b text, d timestamptz DEFAULT now());

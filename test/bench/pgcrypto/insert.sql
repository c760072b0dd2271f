\set a random(1, 1000000)
INSERT INTO single (a, b) VALUES (seal(:a::text), seal('a row of middling length, as applications write them'));

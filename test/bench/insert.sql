\set a random(1, 1000000)
INSERT INTO single (a, b) VALUES (:a, 'a row of middling length, as applications write them');

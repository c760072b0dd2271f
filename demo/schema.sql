-- The medical record's tables, as any application would make them: only the access method differs.
CREATE TABLE patients (
	id uuid PRIMARY KEY, birthdate date NOT NULL, deathdate date, ssn text, drivers text, passport text, prefix text,
	first text, last text, suffix text, maiden text, marital text, race text, ethnicity text, gender text, birthplace text,
	address text, city text, state text, county text, zip text, lat float8, lon float8,
	healthcare_expenses numeric, healthcare_coverage numeric);
CREATE TABLE organizations (
	id uuid PRIMARY KEY, name text, address text, city text, state text, zip text, lat float8, lon float8, phone text,
	revenue numeric, utilization int);
CREATE TABLE providers (
	id uuid PRIMARY KEY, organization uuid REFERENCES organizations, name text, gender text, speciality text,
	address text, city text, state text, zip text, lat float8, lon float8, utilization int);
CREATE TABLE payers (
	id uuid PRIMARY KEY, name text, address text, city text, state_headquartered text, zip text, phone text,
	amount_covered numeric, amount_uncovered numeric, revenue numeric, covered_encounters int, uncovered_encounters int,
	covered_medications int, uncovered_medications int, covered_procedures int, uncovered_procedures int,
	covered_immunizations int, uncovered_immunizations int, unique_customers int, qols_avg float8, member_months int);
CREATE TABLE encounters (
	id uuid PRIMARY KEY, start timestamptz, stop timestamptz, patient uuid REFERENCES patients,
	organization uuid REFERENCES organizations, provider uuid REFERENCES providers, payer uuid REFERENCES payers,
	encounterclass text, code text, description text, base_encounter_cost numeric, total_claim_cost numeric,
	payer_coverage numeric, reasoncode text, reasondescription text);
CREATE INDEX ON encounters (patient);
CREATE TABLE allergies (
	start date, stop date, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters, code text, system text,
	description text, type text, category text, reaction1 text, description1 text, severity1 text, reaction2 text,
	description2 text, severity2 text, PRIMARY KEY (patient, code));
CREATE TABLE careplans (
	id uuid PRIMARY KEY, start date, stop date, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters,
	code text, description text, reasoncode text, reasondescription text);
CREATE TABLE conditions (
	start date, stop date, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters, code text,
	description text);
CREATE TABLE immunizations (
	date timestamptz, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters, code text, description text,
	base_cost numeric);
CREATE TABLE medications (
	start timestamptz, stop timestamptz, patient uuid REFERENCES patients, payer uuid REFERENCES payers,
	encounter uuid REFERENCES encounters, code text, description text, base_cost numeric, payer_coverage numeric,
	dispenses int, totalcost numeric, reasoncode text, reasondescription text);
CREATE TABLE observations (
	date timestamptz, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters, category text, code text,
	description text, value text, units text, type text);
CREATE INDEX ON observations (patient, code);
CREATE TABLE procedures (
	start timestamptz, stop timestamptz, patient uuid REFERENCES patients, encounter uuid REFERENCES encounters, code text,
	description text, base_cost numeric, reasoncode text, reasondescription text);

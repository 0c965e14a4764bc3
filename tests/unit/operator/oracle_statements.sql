-- Every statement of the Oracle provisioner, reviewed for Oracle 19c. After a change, review it and run
-- python -m tests.unit.operator.test_oracle_statements

-- query privileges
SELECT p.privilege FROM session_privs p

-- query grantable
SELECT u.privilege FROM user_sys_privs u WHERE u.admin_option = 'YES'
        UNION SELECT r.privilege FROM role_sys_privs r WHERE r.admin_option = 'YES'

-- query tablespace
SELECT p.property_value FROM database_properties p
        WHERE p.property_name = 'DEFAULT_PERMANENT_TABLESPACE'

-- query users
SELECT u.username, u.account_status, u.authentication_type, u.default_tablespace,
            u.oracle_maintained, u.common, u.expiry_date, SYSDATE
        FROM dba_users u WHERE u.username IN (:owner, :login_a, :login_b)

-- query claims
SELECT v.owner, v.text_vc FROM dba_views v
        WHERE v.view_name = 'LOCUS_CLAIM' AND v.owner IN (:owner, :login_a, :login_b)

-- query quotas
SELECT q.username, q.tablespace_name, q.max_bytes FROM dba_ts_quotas q
        WHERE q.dropped = 'NO' AND q.username IN (:owner, :login_a, :login_b)

-- query objects
SELECT o.owner, o.object_name, o.object_type FROM dba_objects o
        WHERE o.owner IN (:owner, :login_a, :login_b)

-- query system
SELECT p.grantee, p.privilege, p.admin_option FROM dba_sys_privs p
        WHERE p.grantee IN (:owner, :login_a, :login_b)

-- query roles
SELECT p.grantee, p.granted_role FROM dba_role_privs p
        WHERE p.grantee IN (:owner, :login_a, :login_b)

-- query grants
SELECT p.grantee, p.owner, p.table_name, p.privilege, p.grantable FROM dba_tab_privs p
        WHERE p.owner = :owner OR p.grantee IN (:owner, :login_a, :login_b)

-- query version
SELECT MAX(v.version) FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_SCHEMA" v

-- query any row
SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" t FETCH FIRST 1 ROWS ONLY

-- query highest number
SELECT MAX(t.write_order) FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" t

-- query embeddings
SELECT v.embedding FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ITEMS_VECTORS" v WHERE v.write_order < 0

-- query sessions
SELECT s.sid, s."SERIAL#", s.inst_id FROM gv$session s WHERE s.username = :user_name

-- create user LOCUS_TEAM_BOT: missing, 1
CREATE USER "LOCUS_TEAM_BOT" NO AUTHENTICATION ACCOUNT LOCK DEFAULT TABLESPACE "DATA" QUOTA 10G ON "DATA"

-- create user LOCUS_TEAM_BOT: missing, 2
CREATE OR REPLACE VIEW "LOCUS_TEAM_BOT"."LOCUS_CLAIM" AS SELECT '{"locus-memory": {"cluster": "o''brien", "uid": "uid-1", "store": "team/bot"}}' AS claim FROM dual

-- create user LOCUS_TEAM_BOT_A: missing, 1
CREATE USER "LOCUS_TEAM_BOT_A" NO AUTHENTICATION ACCOUNT LOCK

-- create user LOCUS_TEAM_BOT_A: missing, 2
CREATE OR REPLACE VIEW "LOCUS_TEAM_BOT_A"."LOCUS_CLAIM" AS SELECT '{"locus-memory": {"cluster": "o''brien", "uid": "uid-1", "store": "team/bot"}}' AS claim FROM dual

-- create user LOCUS_TEAM_BOT_A: missing, 3
GRANT CREATE SESSION TO "LOCUS_TEAM_BOT_A"

-- claim user LOCUS_TEAM_BOT_A: not claimed, 1
CREATE OR REPLACE VIEW "LOCUS_TEAM_BOT_A"."LOCUS_CLAIM" AS SELECT '{"locus-memory": {"cluster": "o''brien", "uid": "uid-1", "store": "team/bot"}}' AS claim FROM dual

-- release user LOCUS_TEAM_BOT: store deleted, data kept, 1
CREATE OR REPLACE VIEW "LOCUS_TEAM_BOT"."LOCUS_CLAIM" AS SELECT '{"locus-memory": {"cluster": "o''brien", "uid": "uid-1", "store": "team/bot", "released": true}}' AS claim FROM dual

-- alter user LOCUS_TEAM_BOT: differs, 1
ALTER USER "LOCUS_TEAM_BOT" NO AUTHENTICATION ACCOUNT LOCK

-- lock user LOCUS_TEAM_BOT_A: differs, 1
ALTER USER "LOCUS_TEAM_BOT_A" ACCOUNT LOCK

-- set quota of LOCUS_TEAM_BOT: differs, 1
ALTER USER "LOCUS_TEAM_BOT" DEFAULT TABLESPACE "DATA" QUOTA 10G ON "DATA"

-- revoke quota of LOCUS_TEAM_BOT_A: it may use tablespace DATA, 1
ALTER USER "LOCUS_TEAM_BOT_A" QUOTA 0K ON "DATA"

-- create table LOCUS_CHECKPOINTS: missing, 1
CREATE TABLE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            parent_id RAW(1024),
            write_order NUMBER(28) NOT NULL,
            created_at TIMESTAMP(6) NOT NULL,
            payload_bytes NUMBER(10) NOT NULL,
            part_count NUMBER(10) NOT NULL,
            metadata CLOB NOT NULL,
            payload BLOB,
            CONSTRAINT "LOCUS_CHECKPOINTS_KEY" PRIMARY KEY (thread_key, checkpoint_id),
            CONSTRAINT "LOCUS_CHECKPOINTS_IN_ORDER" UNIQUE (thread_key, write_order),
            CONSTRAINT "LOCUS_CHECKPOINTS_JSON" CHECK (metadata IS JSON),
            CONSTRAINT "LOCUS_CHECKPOINTS_THREAD" FOREIGN KEY (thread_key) REFERENCES "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_THREADS" (thread_key) ON DELETE CASCADE
        )

-- create table LOCUS_CHECKPOINTS: missing, 2
GRANT SELECT, INSERT, UPDATE, DELETE ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" TO "LOCUS_TEAM_BOT_A"

-- create table LOCUS_CHECKPOINTS: missing, 3
GRANT SELECT, INSERT, UPDATE, DELETE ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" TO "LOCUS_TEAM_BOT_B"

-- create sequence LOCUS_CHECKPOINTS_ORDER: missing again, 1
CREATE SEQUENCE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ORDER" ORDER CACHE 1000 START WITH 42

-- create sequence LOCUS_CHECKPOINTS_ORDER: missing again, 2
GRANT SELECT ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ORDER" TO "LOCUS_TEAM_BOT_A"

-- create sequence LOCUS_CHECKPOINTS_ORDER: missing again, 3
GRANT SELECT ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ORDER" TO "LOCUS_TEAM_BOT_B"

-- create table LOCUS_CHECKPOINTS_ITEMS_VECTORS: missing, 1
CREATE TABLE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ITEMS_VECTORS" (
            namespace RAW(1024) NOT NULL,
            item_key RAW(1024) NOT NULL,
            write_order NUMBER(28) NOT NULL,
            embedding VECTOR(3, FLOAT32) NOT NULL,
            CONSTRAINT "LOCUS_CHECKPOINTS_ITEMS_VECTORS_KEY" PRIMARY KEY (namespace, item_key),
            CONSTRAINT "LOCUS_CHECKPOINTS_ITEMS_VECTORS_OF" FOREIGN KEY (namespace, item_key)
                REFERENCES "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ITEMS" (namespace, item_key) ON DELETE CASCADE
        )

-- create table LOCUS_CHECKPOINTS_ITEMS_VECTORS: missing, 2
GRANT SELECT, INSERT, UPDATE, DELETE ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ITEMS_VECTORS" TO "LOCUS_TEAM_BOT_A"

-- create table LOCUS_CHECKPOINTS_ITEMS_VECTORS: missing, 3
GRANT SELECT, INSERT, UPDATE, DELETE ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_ITEMS_VECTORS" TO "LOCUS_TEAM_BOT_B"

-- drop table LOCUS_CHECKPOINTS: it belongs to another one, 1
DROP TABLE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" CASCADE CONSTRAINTS PURGE

-- grant table LOCUS_CHECKPOINTS: privileges of LOCUS_TEAM_BOT_A differ, 1
GRANT INSERT, SELECT ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" TO "LOCUS_TEAM_BOT_A"

-- revoke object HR.EMPLOYEES: LOCUS_TEAM_BOT_A has SELECT, 1
REVOKE SELECT ON "HR"."EMPLOYEES" FROM "LOCUS_TEAM_BOT_A"

-- revoke object LOCUS_TEAM_BOT.LOCUS_CHECKPOINTS: PUBLIC has SELECT, 1
REVOKE SELECT ON "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" FROM PUBLIC

-- grant privilege CREATE SESSION: LOCUS_TEAM_BOT_A lacks it, 1
GRANT CREATE SESSION TO "LOCUS_TEAM_BOT_A"

-- revoke privilege CREATE TABLE: LOCUS_TEAM_BOT_A has it, 1
REVOKE CREATE TABLE FROM "LOCUS_TEAM_BOT_A"

-- revoke role RESOURCE: LOCUS_TEAM_BOT_A has it, 1
REVOKE "RESOURCE" FROM "LOCUS_TEAM_BOT_A"

-- set password
ALTER USER "LOCUS_TEAM_BOT_A" IDENTIFIED BY "Secret-Secret-1" ACCOUNT UNLOCK

-- unlock
ALTER USER "LOCUS_TEAM_BOT_A" ACCOUNT UNLOCK

-- drop
DROP USER "LOCUS_TEAM_BOT_A" CASCADE

-- end session
ALTER SYSTEM KILL SESSION '12,3456,@1' IMMEDIATE

-- retention now
SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual

-- retention old
SELECT c.thread_key, c.checkpoint_id FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.created_at < :before
        ORDER BY c.created_at FETCH FIRST :limit ROWS ONLY

-- retention surplus
SELECT r.thread_key, r.checkpoint_id FROM (
            SELECT c.thread_key, c.checkpoint_id,
                ROW_NUMBER() OVER (PARTITION BY c.thread_key ORDER BY c.write_order DESC) AS place
            FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c) r
        WHERE r.place > :kept FETCH FIRST :limit ROWS ONLY

-- retention forget_search
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_SEARCH" s WHERE s.thread_key = :thread_key AND NOT EXISTS (
            SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = s.thread_key AND c.write_order = s.write_order)

-- retention delete_writes old
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_WRITES" w WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id
        AND EXISTS (SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = w.thread_key
            AND c.checkpoint_id = w.checkpoint_id AND c.created_at < :before)

-- retention delete old
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id AND c.created_at < :before

-- retention delete_writes surplus
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_WRITES" w WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id
        AND EXISTS (SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = w.thread_key
            AND c.checkpoint_id = w.checkpoint_id AND (SELECT COUNT(*) FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" n
            WHERE n.thread_key = c.thread_key AND n.write_order > c.write_order) >= :kept)

-- retention delete surplus
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id AND (SELECT COUNT(*) FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" n
            WHERE n.thread_key = c.thread_key AND n.write_order > c.write_order) >= :kept

-- retention lock_threads
UPDATE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_THREADS" t SET t.latest_checkpoint = t.latest_checkpoint WHERE t.thread_key = :thread_key

-- retention delete_unused_parts
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_PARTS" p WHERE p.thread_key = :thread_key AND NOT EXISTS (
            SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_NEEDS" n WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key)

-- retention delete_if_empty
DELETE FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_THREADS" t WHERE t.thread_key = :thread_key
        AND NOT EXISTS (SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = t.thread_key)

-- retention repair_latest
UPDATE "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS_THREADS" t
        SET t.latest_checkpoint = (SELECT c.checkpoint_id FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = t.thread_key
            AND c.write_order = (SELECT MAX(o.write_order) FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" o WHERE o.thread_key = :thread_key))
        WHERE t.thread_key = :thread_key AND NOT EXISTS (SELECT 1 FROM "LOCUS_TEAM_BOT"."LOCUS_CHECKPOINTS" c
            WHERE c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint)

"""The data dictionary of the emulator: who there is and what they may do, as far as PostgreSQL does not know it itself.

A user is a role, with its name in lower case, and a schema. Privileges on objects are PostgreSQL's own, so its server
enforces them; an administrator is a superuser there, whose system privileges the emulator checks.
"""

from typing import Final

DBA: Final = (
    "ALTER SYSTEM",
    "ALTER USER",
    "CREATE ANY INDEX",
    "CREATE ANY SEQUENCE",
    "CREATE ANY TABLE",
    "CREATE ANY VIEW",
    "CREATE SESSION",
    "CREATE TABLE",
    "CREATE USER",
    "DELETE ANY TABLE",
    "DROP ANY INDEX",
    "DROP ANY SEQUENCE",
    "DROP ANY TABLE",
    "DROP ANY VIEW",
    "DROP USER",
    "GRANT ANY OBJECT PRIVILEGE",
    "GRANT ANY PRIVILEGE",
    "GRANT ANY ROLE",
    "INSERT ANY TABLE",
    "SELECT ANY DICTIONARY",
    "SELECT ANY TABLE",
    "UPDATE ANY TABLE",
)
"""Of what the role DBA holds, and the administrator ADMIN of an Autonomous Database, what matters here."""

_TABLES: Final = """
CREATE SCHEMA "SYS";
CREATE TABLE "SYS"."USER$" (
    username text PRIMARY KEY,
    authentication text NOT NULL DEFAULT 'NONE',
    locked boolean NOT NULL DEFAULT false,
    expired boolean NOT NULL DEFAULT false,
    tablespace text NOT NULL DEFAULT 'USERS',
    maintained boolean NOT NULL DEFAULT false,
    passwords text[] NOT NULL DEFAULT '{}'
);
CREATE TABLE "SYS"."SYSAUTH$" (
    grantee text NOT NULL, privilege text NOT NULL, admin_option boolean NOT NULL DEFAULT false,
    PRIMARY KEY (grantee, privilege)
);
CREATE TABLE "SYS"."ROLEAUTH$" (grantee text NOT NULL, granted_role text NOT NULL, PRIMARY KEY (grantee, granted_role));
CREATE TABLE "SYS"."ROLE$" (role text PRIMARY KEY);
CREATE TABLE "SYS"."TS$" (tablespace text PRIMARY KEY);
CREATE TABLE "SYS"."TSQ$" (
    tablespace text NOT NULL, username text NOT NULL, max_bytes bigint NOT NULL, PRIMARY KEY (tablespace, username)
);
CREATE TABLE "SYS"."PROPS$" (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO "SYS"."TS$" VALUES ('USERS'), ('DATA'), ('SYSTEM');
INSERT INTO "SYS"."ROLE$" VALUES ('CONNECT'), ('RESOURCE'), ('DBA'), ('SELECT_CATALOG_ROLE');
INSERT INTO "SYS"."PROPS$" VALUES ('DEFAULT_PERMANENT_TABLESPACE', 'USERS'), ('PASSWORD_REUSE_MAX', '0');
INSERT INTO "SYS"."USER$" (username, locked, tablespace, maintained) VALUES ('SYS', true, 'SYSTEM', true),
    ('SYSTEM', true, 'SYSTEM', true);
"""

_VIEWS: Final = """
CREATE VIEW "SYS"."DBA_USERS" AS SELECT username AS "USERNAME",
    CASE WHEN expired AND shut THEN 'EXPIRED & LOCKED' WHEN expired THEN 'EXPIRED' WHEN shut THEN 'LOCKED' ELSE 'OPEN'
        END AS "ACCOUNT_STATUS",
    CASE WHEN expired THEN LOCALTIMESTAMP END AS "EXPIRY_DATE", tablespace AS "DEFAULT_TABLESPACE",
    authentication AS "AUTHENTICATION_TYPE", 'NO' AS "COMMON",
    CASE WHEN maintained THEN 'Y' ELSE 'N' END AS "ORACLE_MAINTAINED"
    FROM (SELECT u.*, u.locked OR (u.authentication = 'PASSWORD' AND NOT r.rolcanlogin) AS shut FROM "SYS"."USER$" u
        LEFT JOIN pg_roles r ON r.rolname = lower(u.username)) u;
CREATE VIEW "SYS"."USER_USERS" AS SELECT * FROM "SYS"."DBA_USERS" WHERE "USERNAME" = upper(session_user);
CREATE VIEW "SYS"."DBA_SYS_PRIVS" AS SELECT grantee AS "GRANTEE", privilege AS "PRIVILEGE",
    CASE WHEN admin_option THEN 'YES' ELSE 'NO' END AS "ADMIN_OPTION" FROM "SYS"."SYSAUTH$";
CREATE VIEW "SYS"."USER_SYS_PRIVS" AS SELECT "GRANTEE" AS "USERNAME", "PRIVILEGE", "ADMIN_OPTION"
    FROM "SYS"."DBA_SYS_PRIVS" WHERE "GRANTEE" IN (upper(session_user), 'PUBLIC');
CREATE VIEW "SYS"."ROLE_SYS_PRIVS" AS SELECT s."GRANTEE" AS "ROLE", s."PRIVILEGE", s."ADMIN_OPTION"
    FROM "SYS"."DBA_SYS_PRIVS" s JOIN "SYS"."ROLEAUTH$" r ON r.granted_role = s."GRANTEE"
    WHERE r.grantee = upper(session_user);
CREATE VIEW "SYS"."SESSION_PRIVS" AS SELECT "PRIVILEGE" FROM "SYS"."USER_SYS_PRIVS"
    UNION SELECT "PRIVILEGE" FROM "SYS"."ROLE_SYS_PRIVS";
CREATE VIEW "SYS"."DBA_ROLE_PRIVS" AS SELECT grantee AS "GRANTEE", granted_role AS "GRANTED_ROLE"
    FROM "SYS"."ROLEAUTH$";
CREATE VIEW "SYS"."DBA_TS_QUOTAS" AS SELECT tablespace AS "TABLESPACE_NAME", username AS "USERNAME",
    max_bytes AS "MAX_BYTES", 'NO' AS "DROPPED" FROM "SYS"."TSQ$";
CREATE VIEW "SYS"."DATABASE_PROPERTIES" AS SELECT name AS "PROPERTY_NAME", value AS "PROPERTY_VALUE"
    FROM "SYS"."PROPS$";
CREATE VIEW "SYS"."DBA_OBJECTS" AS SELECT n.nspname AS "OWNER", c.relname AS "OBJECT_NAME",
    CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'i' THEN 'INDEX' WHEN 'S' THEN 'SEQUENCE' ELSE 'VIEW' END AS "OBJECT_TYPE"
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN "SYS"."USER$" u ON u.username = n.nspname
    WHERE c.relkind IN ('r', 'i', 'S', 'v') AND n.nspname <> 'SYS';
CREATE VIEW "SYS"."DBA_VIEWS" AS SELECT n.nspname AS "OWNER", c.relname AS "VIEW_NAME",
    pg_get_viewdef(c.oid) AS "TEXT_VC"
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN "SYS"."USER$" u ON u.username = n.nspname
    WHERE c.relkind = 'v' AND n.nspname <> 'SYS';
CREATE VIEW "SYS"."DBA_TAB_PRIVS" AS SELECT
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE upper(pg_get_userbyid(a.grantee)) END AS "GRANTEE",
    n.nspname AS "OWNER", c.relname AS "TABLE_NAME",
    CASE c.relkind WHEN 'S' THEN 'SELECT' ELSE a.privilege_type END AS "PRIVILEGE",
    CASE WHEN a.is_grantable THEN 'YES' ELSE 'NO' END AS "GRANTABLE"
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN "SYS"."USER$" u ON u.username = n.nspname,
    aclexplode(c.relacl) a
    WHERE a.grantee <> c.relowner AND n.nspname <> 'SYS' AND (c.relkind <> 'S' OR a.privilege_type = 'USAGE');
CREATE VIEW "SYS"."GV$SESSION" AS SELECT 1 AS "INST_ID", pid AS "SID", pid % 60000 AS "SERIAL#",
    upper(usename) AS "USERNAME" FROM pg_stat_activity WHERE datname = current_database() AND usename IS NOT NULL;
GRANT USAGE ON SCHEMA "SYS" TO PUBLIC;
GRANT SELECT ON "SYS"."USER_USERS", "SYS"."USER_SYS_PRIVS", "SYS"."ROLE_SYS_PRIVS", "SYS"."SESSION_PRIVS",
    "SYS"."DATABASE_PROPERTIES" TO PUBLIC;
"""

SCRIPT: Final = _TABLES + _VIEWS
"""Creates the dictionary in an empty database."""

RESTRICTED: Final = frozenset({"DBA_", "GV$"})
"""How the names of views begin that only who may SELECT ANY DICTIONARY sees."""

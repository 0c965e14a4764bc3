-- Every statement of the Oracle backend, reviewed for Oracle 19c. After a change, review it and run
-- python -m tests.unit.memory.test_oracle_statements

-- ddl sequence LOCUS_CHECKPOINTS_ORDER
CREATE SEQUENCE "AGENTS"."LOCUS_CHECKPOINTS_ORDER" ORDER CACHE 1000

-- ddl table LOCUS_CHECKPOINTS_THREADS
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (
            thread_key RAW(32) NOT NULL,
            thread_id RAW(1024) NOT NULL,
            namespace RAW(2000),
            latest_checkpoint RAW(1024),
            CONSTRAINT "LOCUS_CHECKPOINTS_THREADS_KEY" PRIMARY KEY (thread_key),
            CONSTRAINT "LOCUS_CHECKPOINTS_THREADS_ID" UNIQUE (thread_id, namespace)
        )

-- ddl table LOCUS_CHECKPOINTS
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS" (
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
            CONSTRAINT "LOCUS_CHECKPOINTS_THREAD" FOREIGN KEY (thread_key) REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key) ON DELETE CASCADE
        )

-- ddl index LOCUS_CHECKPOINTS_CREATED
CREATE INDEX "AGENTS"."LOCUS_CHECKPOINTS_CREATED" ON "AGENTS"."LOCUS_CHECKPOINTS" (created_at)

-- ddl table LOCUS_CHECKPOINTS_METADATA
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_METADATA" (
            field_hash RAW(32) NOT NULL,
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            CONSTRAINT "LOCUS_CHECKPOINTS_METADATA_KEY" PRIMARY KEY (thread_key, checkpoint_id, field_hash),
            CONSTRAINT "LOCUS_CHECKPOINTS_METADATA_OF" FOREIGN KEY (thread_key, checkpoint_id)
                REFERENCES "AGENTS"."LOCUS_CHECKPOINTS" (thread_key, checkpoint_id) ON DELETE CASCADE
        )

-- ddl index LOCUS_CHECKPOINTS_BY_FIELD
CREATE INDEX "AGENTS"."LOCUS_CHECKPOINTS_BY_FIELD" ON "AGENTS"."LOCUS_CHECKPOINTS_METADATA" (field_hash, thread_key, checkpoint_id)

-- ddl table LOCUS_CHECKPOINTS_PARTS
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_PARTS" (
            thread_key RAW(32) NOT NULL,
            part_key RAW(16) NOT NULL,
            content BLOB,
            CONSTRAINT "LOCUS_CHECKPOINTS_PARTS_KEY" PRIMARY KEY (thread_key, part_key),
            CONSTRAINT "LOCUS_CHECKPOINTS_PARTS_OF" FOREIGN KEY (thread_key) REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key) ON DELETE CASCADE
        )

-- ddl table LOCUS_CHECKPOINTS_NEEDS
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            part_key RAW(16) NOT NULL,
            CONSTRAINT "LOCUS_CHECKPOINTS_NEEDS_KEY" PRIMARY KEY (thread_key, checkpoint_id, part_key),
            CONSTRAINT "LOCUS_CHECKPOINTS_NEEDS_OF" FOREIGN KEY (thread_key, checkpoint_id)
                REFERENCES "AGENTS"."LOCUS_CHECKPOINTS" (thread_key, checkpoint_id) ON DELETE CASCADE,
            CONSTRAINT "LOCUS_CHECKPOINTS_NEEDS_PART" FOREIGN KEY (thread_key, part_key)
                REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_PARTS" (thread_key, part_key) ON DELETE CASCADE
        )

-- ddl index LOCUS_CHECKPOINTS_BY_PART
CREATE INDEX "AGENTS"."LOCUS_CHECKPOINTS_BY_PART" ON "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" (thread_key, part_key)

-- ddl table LOCUS_WRITES
CREATE TABLE "AGENTS"."LOCUS_WRITES" (
            thread_key RAW(32) NOT NULL,
            checkpoint_id RAW(1024) NOT NULL,
            place RAW(16) NOT NULL,
            content BLOB,
            CONSTRAINT "LOCUS_WRITES_KEY" PRIMARY KEY (thread_key, checkpoint_id, place),
            CONSTRAINT "LOCUS_WRITES_OF" FOREIGN KEY (thread_key) REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key) ON DELETE CASCADE
        )

-- ddl table LOCUS_CHECKPOINTS_SEARCH
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_SEARCH" (
            thread_key RAW(32) NOT NULL,
            write_order NUMBER(28) NOT NULL,
            CONSTRAINT "LOCUS_CHECKPOINTS_SEARCH_KEY" PRIMARY KEY (thread_key),
            CONSTRAINT "LOCUS_CHECKPOINTS_SEARCH_OF" FOREIGN KEY (thread_key) REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key) ON DELETE CASCADE
        )

-- ddl table LOCUS_CHECKPOINTS_WORDS
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_WORDS" (
            word_hash RAW(16) NOT NULL,
            thread_key RAW(32) NOT NULL,
            occurrences NUMBER(10) NOT NULL,
            CONSTRAINT "LOCUS_CHECKPOINTS_WORDS_KEY" PRIMARY KEY (thread_key, word_hash),
            CONSTRAINT "LOCUS_CHECKPOINTS_WORDS_OF" FOREIGN KEY (thread_key) REFERENCES "AGENTS"."LOCUS_CHECKPOINTS_SEARCH" (thread_key) ON DELETE CASCADE
        )

-- ddl index LOCUS_CHECKPOINTS_BY_WORD
CREATE INDEX "AGENTS"."LOCUS_CHECKPOINTS_BY_WORD" ON "AGENTS"."LOCUS_CHECKPOINTS_WORDS" (word_hash, thread_key, occurrences)

-- ddl table LOCUS_CHECKPOINTS_SCHEMA
CREATE TABLE "AGENTS"."LOCUS_CHECKPOINTS_SCHEMA" AS SELECT 1 AS version FROM dual

-- put
MERGE INTO "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        USING (SELECT :thread_key AS thread_key FROM dual) k ON (t.thread_key = k.thread_key)
        WHEN MATCHED THEN UPDATE SET t.latest_checkpoint = :checkpoint_id
        WHEN NOT MATCHED THEN INSERT (thread_key, thread_id, namespace, latest_checkpoint)
            VALUES (k.thread_key, :thread_id, :namespace, :checkpoint_id)

-- put_first
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key, thread_id, namespace, latest_checkpoint)
        VALUES (:thread_key, :thread_id, :namespace, :checkpoint_id)

-- put_behind_writes
UPDATE "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t SET t.latest_checkpoint = :checkpoint_id
        WHERE t.thread_key = :thread_key AND t.latest_checkpoint IS NULL

-- put_next
UPDATE "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t SET t.latest_checkpoint = :checkpoint_id
        WHERE t.thread_key = :thread_key AND t.latest_checkpoint = :expected

-- insert_checkpoint
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS"
            (thread_key, checkpoint_id, parent_id, write_order, created_at, payload_bytes, part_count, metadata,
            payload)
        VALUES (:thread_key, :checkpoint_id, :parent_id, "AGENTS"."LOCUS_CHECKPOINTS_ORDER".NEXTVAL,
            COALESCE(:created_at, SYS_EXTRACT_UTC(SYSTIMESTAMP)), :payload_bytes, :part_count, :metadata, :payload)

-- replace_checkpoint
UPDATE "AGENTS"."LOCUS_CHECKPOINTS" c
        SET c.parent_id = :parent_id, c.write_order = "AGENTS"."LOCUS_CHECKPOINTS_ORDER".NEXTVAL,
            c.created_at = COALESCE(:created_at, SYS_EXTRACT_UTC(SYSTIMESTAMP)),
            c.payload_bytes = :payload_bytes, c.part_count = :part_count, c.metadata = :metadata,
            c.payload = :payload
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id

-- forget_fields
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_METADATA" f WHERE f.thread_key = :thread_key AND f.checkpoint_id = :checkpoint_id

-- index_field
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_METADATA" (field_hash, thread_key, checkpoint_id)
        VALUES (:field_hash, :thread_key, :checkpoint_id)

-- get_latest
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id, c.payload FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint WHERE t.thread_key = :thread_key

-- summary_latest
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint WHERE t.thread_key = :thread_key

-- get_one
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id, c.payload FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id

-- summary_one
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id

-- list_checkpoints
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key ORDER BY c.write_order DESC FETCH FIRST :limit ROWS ONLY

-- lock_thread
SELECT t.latest_checkpoint,
            CASE WHEN EXISTS (SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n
                WHERE n.thread_key = t.thread_key AND n.checkpoint_id = :checkpoint_id) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM "AGENTS"."LOCUS_WRITES" w
                JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = w.thread_key AND c.checkpoint_id = w.checkpoint_id
                WHERE w.thread_key = t.thread_key AND w.checkpoint_id = :checkpoint_id) THEN 1 ELSE 0 END
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t WHERE t.thread_key = :thread_key FOR UPDATE

-- delete_checkpoint
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS" c
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id

-- delete_if_empty
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t WHERE t.thread_key = :thread_key
        AND NOT EXISTS (SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = t.thread_key)

-- repair_latest
UPDATE "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        SET t.latest_checkpoint = (SELECT c.checkpoint_id FROM "AGENTS"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = t.thread_key
            AND c.write_order = (SELECT MAX(o.write_order) FROM "AGENTS"."LOCUS_CHECKPOINTS" o WHERE o.thread_key = :thread_key))
        WHERE t.thread_key = :thread_key AND NOT EXISTS (SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS" c
            WHERE c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint)

-- delete_thread
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t WHERE t.thread_id = :thread_id

-- lock_copied
SELECT t.thread_id, t.thread_key, t.namespace FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        WHERE t.thread_id IN (:source, :destination) ORDER BY t.thread_key FOR UPDATE

-- copy_thread
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key, thread_id, namespace, latest_checkpoint)
        SELECT :destination_key, :destination, t.namespace, t.latest_checkpoint
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t WHERE t.thread_key = :source_key

-- copy_checkpoints
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS"
            (thread_key, checkpoint_id, parent_id, write_order, created_at, payload_bytes, part_count, metadata,
            payload)
        SELECT :destination_key, c.checkpoint_id, c.parent_id, c.write_order, c.created_at, c.payload_bytes,
            c.part_count, c.metadata, c.payload
        FROM "AGENTS"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = :source_key

-- copy_fields
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_METADATA" (field_hash, thread_key, checkpoint_id)
        SELECT f.field_hash, :destination_key, f.checkpoint_id FROM "AGENTS"."LOCUS_CHECKPOINTS_METADATA" f WHERE f.thread_key = :source_key

-- list_threads
SELECT t.thread_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        WHERE t.thread_id >= :low AND t.thread_id < :high AND RAWTOHEX(t.thread_id) LIKE :pattern
            AND t.latest_checkpoint IS NOT NULL
        ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY

-- list_threads_after
SELECT t.thread_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        WHERE t.thread_id >= :low AND t.latest_checkpoint IS NOT NULL
        ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY

-- list_namespaces
SELECT t.namespace FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t
        WHERE t.thread_id = :thread_id AND t.latest_checkpoint IS NOT NULL

-- list_latest
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        WHERE t.namespace IS NULL ORDER BY t.thread_id FETCH FIRST :limit ROWS ONLY

-- query_by_metadata
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id FROM "AGENTS"."LOCUS_CHECKPOINTS_METADATA" f
        JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = f.thread_key AND c.checkpoint_id = f.checkpoint_id
        JOIN "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t ON t.thread_key = f.thread_key
        WHERE f.field_hash = :field_hash
        ORDER BY c.created_at DESC, c.write_order DESC FETCH FIRST :limit ROWS ONLY

-- unindexed
SELECT t.thread_key, c.write_order, c.payload_bytes FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        LEFT JOIN "AGENTS"."LOCUS_CHECKPOINTS_SEARCH" s ON s.thread_key = t.thread_key
        WHERE t.namespace IS NULL AND t.thread_key > :after
            AND (s.write_order IS NULL OR s.write_order <> c.write_order)
        ORDER BY t.thread_key FETCH FIRST :limit ROWS ONLY

-- latest_payload
SELECT c.write_order, c.payload FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint WHERE t.thread_key = :thread_key

-- claim_search
MERGE INTO "AGENTS"."LOCUS_CHECKPOINTS_SEARCH" s
        USING (SELECT :thread_key AS thread_key FROM dual) k ON (s.thread_key = k.thread_key)
        WHEN MATCHED THEN UPDATE SET s.write_order = :write_order
        WHEN NOT MATCHED THEN INSERT (thread_key, write_order) VALUES (k.thread_key, :write_order)

-- forget_words
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_WORDS" w WHERE w.thread_key = :thread_key

-- index_word
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_WORDS" (word_hash, thread_key, occurrences)
        VALUES (:word_hash, :thread_key, :occurrences)

-- old_threads
SELECT c.thread_key FROM "AGENTS"."LOCUS_CHECKPOINTS" c WHERE c.created_at < :before
        GROUP BY c.thread_key ORDER BY c.thread_key FETCH FIRST :limit ROWS ONLY

-- lock_threads
UPDATE "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t SET t.latest_checkpoint = t.latest_checkpoint WHERE t.thread_key = :thread_key

-- delete_old
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS" c WHERE c.thread_key = :thread_key AND c.created_at < :before

-- version
SELECT MAX(v.version) FROM "AGENTS"."LOCUS_CHECKPOINTS_SCHEMA" v

-- insert_part
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_PARTS" (thread_key, part_key, content) VALUES (:thread_key, :part_key, :content)

-- make_room_for_part
MERGE INTO "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p
        USING (SELECT :thread_key AS thread_key, :part_key AS part_key FROM dual) k
            ON (p.thread_key = k.thread_key AND p.part_key = k.part_key)
        WHEN NOT MATCHED THEN INSERT (thread_key, part_key) VALUES (k.thread_key, k.part_key)

-- fill_part
UPDATE "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p SET p.content = :content
        WHERE p.thread_key = :thread_key AND p.part_key = :part_key AND p.content IS NULL

-- need_part
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" (thread_key, checkpoint_id, part_key)
        VALUES (:thread_key, :checkpoint_id, :part_key)

-- forget_needs
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n WHERE n.thread_key = :thread_key AND n.checkpoint_id = :checkpoint_id

-- delete_unused_parts
DELETE FROM "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p WHERE p.thread_key = :thread_key AND NOT EXISTS (
            SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key)

-- make_thread
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_THREADS" (thread_key, thread_id, namespace)
        VALUES (:thread_key, :thread_id, :namespace)

-- make_room_for_write
MERGE INTO "AGENTS"."LOCUS_WRITES" w
        USING (SELECT :thread_key AS thread_key, :checkpoint_id AS checkpoint_id, :place AS place FROM dual) k
            ON (w.thread_key = k.thread_key AND w.checkpoint_id = k.checkpoint_id AND w.place = k.place)
        WHEN NOT MATCHED THEN INSERT (thread_key, checkpoint_id, place)
            VALUES (k.thread_key, k.checkpoint_id, k.place)

-- fill_write
UPDATE "AGENTS"."LOCUS_WRITES" w SET w.content = :content
        WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id AND w.place = :place
            AND (w.content IS NULL OR :write_index < 0)

-- get_writes
SELECT w.content FROM "AGENTS"."LOCUS_WRITES" w
        WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id

-- delete_writes
DELETE FROM "AGENTS"."LOCUS_WRITES" w WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id

-- delete_old_writes
DELETE FROM "AGENTS"."LOCUS_WRITES" w WHERE w.thread_key = :thread_key AND w.checkpoint_id IN (
            SELECT c.checkpoint_id FROM "AGENTS"."LOCUS_CHECKPOINTS" c
            WHERE c.thread_key = :thread_key AND c.created_at < :before)

-- copy_parts
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_PARTS" (thread_key, part_key, content)
        SELECT :destination_key, p.part_key, p.content FROM "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p WHERE p.thread_key = :source_key

-- copy_needs
INSERT INTO "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" (thread_key, checkpoint_id, part_key)
        SELECT :destination_key, n.checkpoint_id, n.part_key FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n WHERE n.thread_key = :source_key

-- copy_writes
INSERT INTO "AGENTS"."LOCUS_WRITES" (thread_key, checkpoint_id, place, content)
        SELECT :destination_key, w.checkpoint_id, w.place, w.content
        FROM "AGENTS"."LOCUS_WRITES" w WHERE w.thread_key = :source_key

-- search
SELECT t.thread_id, c.checkpoint_id, c.metadata, c.created_at, t.namespace, c.parent_id, h.score
        FROM (SELECT w.thread_key, SUM(w.occurrences) AS score FROM "AGENTS"."LOCUS_CHECKPOINTS_WORDS" w WHERE w.word_hash IN (:term_0, :term_1)
            GROUP BY w.thread_key HAVING COUNT(*) = :term_count) h
        JOIN "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t ON t.thread_key = h.thread_key JOIN "AGENTS"."LOCUS_CHECKPOINTS" c
            ON c.thread_key = t.thread_key AND c.checkpoint_id = t.latest_checkpoint
        ORDER BY h.score DESC, c.created_at DESC, c.write_order DESC FETCH FIRST :limit ROWS ONLY

-- complete 0
SELECT 'C' AS kind, t.thread_id AS row_key, c.checkpoint_id, c.metadata, c.created_at,
            t.namespace, c.parent_id, c.part_count, c.payload
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = t.latest_checkpoint
        UNION ALL SELECT 'N', n.part_key, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, TO_BLOB(NULL)
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        JOIN "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n ON n.thread_key = c.thread_key AND n.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND c.part_count > 0 AND c.checkpoint_id = t.latest_checkpoint
        UNION ALL SELECT 'P', p.part_key, p.part_key, TO_CLOB(NULL), CAST(NULL AS TIMESTAMP(6)),
            t.namespace, p.part_key, 0, p.content
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p ON p.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND EXISTS (
            SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n
            WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key AND n.checkpoint_id = t.latest_checkpoint)
        UNION ALL SELECT 'W', w.place, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, w.content
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        JOIN "AGENTS"."LOCUS_WRITES" w ON w.thread_key = c.thread_key AND w.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND c.checkpoint_id = t.latest_checkpoint

-- complete 2
SELECT 'C' AS kind, t.thread_id AS row_key, c.checkpoint_id, c.metadata, c.created_at,
            t.namespace, c.parent_id, c.part_count, c.payload
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND c.checkpoint_id IN (:id_0, :id_1)
        UNION ALL SELECT 'N', n.part_key, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, TO_BLOB(NULL)
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        JOIN "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n ON n.thread_key = c.thread_key AND n.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND c.part_count > 0 AND c.checkpoint_id IN (:id_0, :id_1)
        UNION ALL SELECT 'P', p.part_key, p.part_key, TO_CLOB(NULL), CAST(NULL AS TIMESTAMP(6)),
            t.namespace, p.part_key, 0, p.content
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS_PARTS" p ON p.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND EXISTS (
            SELECT 1 FROM "AGENTS"."LOCUS_CHECKPOINTS_NEEDS" n
            WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key AND n.checkpoint_id IN (:id_0, :id_1))
        UNION ALL SELECT 'W', w.place, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, w.content
        FROM "AGENTS"."LOCUS_CHECKPOINTS_THREADS" t JOIN "AGENTS"."LOCUS_CHECKPOINTS" c ON c.thread_key = t.thread_key
        JOIN "AGENTS"."LOCUS_WRITES" w ON w.thread_key = c.thread_key AND w.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND c.checkpoint_id IN (:id_0, :id_1)

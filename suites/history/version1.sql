BEGIN TRANSACTION;
CREATE TABLE answers (
	run_id VARCHAR(64) NOT NULL, 
	question VARCHAR(200) NOT NULL, 
	correct BOOLEAN, 
	answered BOOLEAN, 
	finish VARCHAR(10), 
	tokens INTEGER, 
	answer JSON, 
	PRIMARY KEY (run_id, question), 
	FOREIGN KEY(run_id) REFERENCES evaluations (run_id)
);
INSERT INTO "answers" VALUES('a','add-0',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "a", "id": "add-0", "place": 0, "prompt_hash": "9cc73c1db1065872", "gold": "7", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('a','add-1',1,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "a", "id": "add-1", "place": 1, "prompt_hash": "6d85f64efad6f468", "gold": "8", "text": " 7 \u2192 8\n#### 8", "strict": "8", "flexible": "8", "correct": true, "correct_flexible": true, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('a','add-2',1,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "a", "id": "add-2", "place": 2, "prompt_hash": "62e96603a69b3077", "gold": "9", "text": " 7 \u2192 9\n#### 9", "strict": "9", "flexible": "9", "correct": true, "correct_flexible": true, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('a','add-3',1,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "a", "id": "add-3", "place": 3, "prompt_hash": "09719097090ed5eb", "gold": "10", "text": " 7 \u2192 10\n#### 10", "strict": "10", "flexible": "10", "correct": true, "correct_flexible": true, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('b','add-0',1,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "b", "id": "add-0", "place": 0, "prompt_hash": "9cc73c1db1065872", "gold": "7", "text": " 7 \u2192 7\n#### 7", "strict": "7", "flexible": "7", "correct": true, "correct_flexible": true, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('b','add-1',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "b", "id": "add-1", "place": 1, "prompt_hash": "6d85f64efad6f468", "gold": "8", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('b','add-2',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "b", "id": "add-2", "place": 2, "prompt_hash": "62e96603a69b3077", "gold": "9", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('b','add-3',1,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "b", "id": "add-3", "place": 3, "prompt_hash": "09719097090ed5eb", "gold": "10", "text": " 7 \u2192 10\n#### 10", "strict": "10", "flexible": "10", "correct": true, "correct_flexible": true, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('x','add-0',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "x", "id": "add-0", "place": 0, "prompt_hash": "9cc73c1db1065872", "gold": "7", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('x','add-1',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "x", "id": "add-1", "place": 1, "prompt_hash": "6d85f64efad6f468", "gold": "8", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('x','add-2',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "x", "id": "add-2", "place": 2, "prompt_hash": "62e96603a69b3077", "gold": "9", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
INSERT INTO "answers" VALUES('x','add-3',0,1,'stop',5,'{"kind": "question", "schema_version": 1, "run_id": "x", "id": "add-3", "place": 3, "prompt_hash": "09719097090ed5eb", "gold": "10", "text": " 7 \u2192 0\n#### 0", "strict": "0", "flexible": "0", "correct": false, "correct_flexible": false, "finish_reason": "stop", "error": "", "tokens": 5, "prompt_tokens": null, "attempts": 1, "seconds": 0.0}');
CREATE TABLE baselines (
	number INTEGER NOT NULL, 
	configuration VARCHAR(400), 
	task VARCHAR(200), 
	runs JSON, 
	who VARCHAR(200), 
	why TEXT, 
	accepted VARCHAR(40), 
	evidence JSON, 
	PRIMARY KEY (number)
);
INSERT INTO "baselines" VALUES(1,'adder served','additions','["a"]','me','the weights of May','2026-11-22T00:47:28.241661+00:00','{"previous": null, "correct_of_asked": {"a": [3, 4]}, "psi": null, "dispersion_p": 1.0}');
CREATE TABLE evaluations (
	run_id VARCHAR(64) NOT NULL, 
	configuration VARCHAR(400), 
	task VARCHAR(200), 
	healthy BOOLEAN, 
	started VARCHAR(40), 
	status VARCHAR(40), 
	header JSON, 
	verdict JSON, 
	PRIMARY KEY (run_id)
);
INSERT INTO "evaluations" VALUES('a','adder served','additions',1,'2025-01-01T00:00:00+00:00','green','{"kind": "eval", "schema_version": 1, "run_id": "a", "started": "2025-01-01T00:00:00+00:00", "command": "test", "model": "adder", "arch": "", "fp8": "", "block_size": 0, "kv_dtype": "", "provider": "", "engine": "served", "faults": [], "fingerprint": {"task": "additions", "shots": 0, "until": ["Question:"], "max_tokens": 32, "temperature": 0.0, "chat_template": "", "extraction": "test-1", "questions": 40, "prompts": "96dc58dd1d7eff82"}, "order_seed": 0, "planned": 4, "topk": null, "shortest_prompt": null, "repeats": "", "resumed": false, "versions": {}, "device": "", "commit": ""}','{"kind": "accuracy", "schema_version": 1, "run_id": "a", "finished": "later", "status": "green", "reason": "every check holds", "checks": [], "decided_by": [], "asked": 4, "correct": 3, "correct_flexible": 3, "interval": [0.0, 1.0], "stopped_after": null, "power": "", "seconds": 0.0, "repro": ""}');
INSERT INTO "evaluations" VALUES('b','adder served','additions',1,'2025-01-02T00:00:00+00:00','green','{"kind": "eval", "schema_version": 1, "run_id": "b", "started": "2025-01-02T00:00:00+00:00", "command": "test", "model": "adder", "arch": "", "fp8": "", "block_size": 0, "kv_dtype": "", "provider": "", "engine": "served", "faults": [], "fingerprint": {"task": "additions", "shots": 0, "until": ["Question:"], "max_tokens": 32, "temperature": 0.0, "chat_template": "", "extraction": "test-1", "questions": 40, "prompts": "96dc58dd1d7eff82"}, "order_seed": 0, "planned": 4, "topk": null, "shortest_prompt": null, "repeats": "", "resumed": false, "versions": {}, "device": "", "commit": ""}','{"kind": "accuracy", "schema_version": 1, "run_id": "b", "finished": "later", "status": "green", "reason": "every check holds", "checks": [], "decided_by": [], "asked": 4, "correct": 2, "correct_flexible": 2, "interval": [0.0, 1.0], "stopped_after": null, "power": "", "seconds": 0.0, "repro": ""}');
INSERT INTO "evaluations" VALUES('x','adder served','additions',0,'2025-01-01T00:00:00+00:00','red','{"kind": "eval", "schema_version": 1, "run_id": "x", "started": "2025-01-01T00:00:00+00:00", "command": "test", "model": "adder", "arch": "", "fp8": "", "block_size": 0, "kv_dtype": "", "provider": "", "engine": "served", "faults": ["f"], "fingerprint": {"task": "additions", "shots": 0, "until": ["Question:"], "max_tokens": 32, "temperature": 0.0, "chat_template": "", "extraction": "test-1", "questions": 40, "prompts": "96dc58dd1d7eff82"}, "order_seed": 0, "planned": 4, "topk": null, "shortest_prompt": null, "repeats": "", "resumed": false, "versions": {}, "device": "", "commit": ""}','{"kind": "accuracy", "schema_version": 1, "run_id": "x", "finished": "later", "status": "red", "reason": "every check holds", "checks": [], "decided_by": [], "asked": 4, "correct": 0, "correct_flexible": 0, "interval": [0.0, 1.0], "stopped_after": null, "power": "", "seconds": 0.0, "repro": ""}');
CREATE TABLE rocassay_history (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "rocassay_history" VALUES(1);
CREATE INDEX ix_evaluations_configuration ON evaluations (configuration);
CREATE INDEX ix_evaluations_started ON evaluations (started);
CREATE INDEX ix_baselines_configuration ON baselines (configuration);
COMMIT;

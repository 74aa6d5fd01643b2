-- The database as readers have known it since 2022. Names, order and types of columns are a contract:
-- other programs read rows by position and join on these keys, so nothing here changes any more;
-- later files add what came after.
-- 
-- Objects stand in the order in which they need each other. Every statement may run again.
-- Names are unqualified: the file fills whichever database the client has chosen.

-- Which of these files were applied here. It stands first, so that a run which is killed
-- half-way finds its own traces.

CREATE TABLE IF NOT EXISTS SchemaMigrations
(
    migration       String,
    checksum        String,
    applied         DateTime64(3) DEFAULT now64(),
    program_version String
)
ENGINE = MergeTree
ORDER BY migration;

-- ---- Package sets: states of branches and contents of images, one tree of nodes each ----

CREATE TABLE IF NOT EXISTS PackageSetName
(
    pkgset_uuid     UUID,
    pkgset_puuid    UUID,
    pkgset_ruuid    UUID,
    pkgset_depth    UInt8,
    pkgset_nodename String,
    pkgset_date     DateTime,
    pkgset_tag      String,
    pkgset_complete UInt8,
    `pkgset_kv.k`   Array(String),
    `pkgset_kv.v`   Array(String)
)
ENGINE = MergeTree
PRIMARY KEY (pkgset_date, pkgset_nodename)
ORDER BY (pkgset_date, pkgset_nodename, pkgset_ruuid, pkgset_depth);

CREATE TABLE IF NOT EXISTS PackageSet
(
    pkgset_uuid UUID,
    pkg_hash    UInt64
)
ENGINE = ReplacingMergeTree
PRIMARY KEY pkgset_uuid
ORDER BY (pkgset_uuid, pkg_hash);

CREATE TABLE IF NOT EXISTS PackageSet_buffer AS PackageSet
ENGINE = Buffer(currentDatabase(), PackageSet, 16, 10, 100, 10000, 1000000, 1000000, 10000000);

-- Readers of a branch need a flat, current list and cannot afford to walk the tree each time.
-- The first view catches the root, the second one copies the packages below it; between them stands
-- a small table, because a view sees the inserted rows of one table only. Roots are written last,
-- when everything below them is stored.

CREATE TABLE IF NOT EXISTS last_packages_stage1
(
    ts           DateTime64(3) MATERIALIZED now64(),
    pkgset_ruuid UUID,
    pkgset_name  String,
    pkgset_date  DateTime
)
ENGINE = MergeTree
ORDER BY pkgset_ruuid;

CREATE TABLE IF NOT EXISTS StaticLastPackages
(
    pkgset_name       String,
    pkgset_date       DateTime,
    pkg_hash          UInt64,
    pkg_name          String,
    pkg_version       String,
    pkg_release       String,
    pkg_sourcepackage UInt8
)
ENGINE = MergeTree
PRIMARY KEY (pkgset_name, pkg_name)
ORDER BY (pkgset_name, pkg_name, pkg_sourcepackage);

-- ---- Packages ----

CREATE TABLE IF NOT EXISTS Packages
(
    pkg_hash              UInt64,
    pkg_cs                FixedString(20),
    pkg_packager          LowCardinality(String),
    pkg_packager_email    LowCardinality(String),
    pkg_name              String,
    pkg_arch              LowCardinality(String),
    pkg_version           String,
    pkg_release           String,
    pkg_epoch             UInt32,
    pkg_serial_           UInt32,
    pkg_buildtime         UInt32,
    pkg_buildhost         LowCardinality(String),
    pkg_size              UInt64,
    pkg_archivesize       UInt64,
    pkg_filesize          UInt64,
    pkg_rpmversion        LowCardinality(String),
    pkg_cookie            String,
    pkg_sourcepackage     UInt8,
    pkg_disttag           String,
    pkg_sourcerpm         String,
    pkg_srcrpm_hash       UInt64,
    pkg_filename          String,
    pkg_complete          UInt8,
    pkg_summary           String,
    pkg_description       String,
    `pkg_changelog.date`  Array(DateTime),
    `pkg_changelog.name`  Array(String),
    `pkg_changelog.evr`   Array(String),
    `pkg_changelog.hash`  Array(UInt64),
    pkg_distribution      LowCardinality(String),
    pkg_vendor            LowCardinality(String),
    pkg_gif               String,
    pkg_xpm               String,
    pkg_license           LowCardinality(String),
    pkg_group_            String,
    pkg_url               LowCardinality(String),
    pkg_os                LowCardinality(String),
    pkg_prein             String,
    pkg_postin            String,
    pkg_preun             String,
    pkg_postun            String,
    pkg_icon              String,
    pkg_preinprog         Array(String),
    pkg_postinprog        Array(String),
    pkg_preunprog         Array(String),
    pkg_postunprog        Array(String),
    pkg_buildarchs        Array(LowCardinality(String)),
    pkg_verifyscript      String,
    pkg_verifyscriptprog  Array(String),
    pkg_prefixes          Array(LowCardinality(String)),
    pkg_instprefixes      Array(String),
    pkg_optflags          LowCardinality(String),
    pkg_disturl           String,
    pkg_payloadformat     LowCardinality(String),
    pkg_payloadcompressor LowCardinality(String),
    pkg_payloadflags      LowCardinality(String),
    pkg_platform          LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (pkg_name, pkg_arch)
ORDER BY (pkg_name, pkg_arch, pkg_hash, pkg_srcrpm_hash, pkg_packager, pkg_packager_email);

CREATE TABLE IF NOT EXISTS Packages_buffer AS Packages
ENGINE = Buffer(currentDatabase(), Packages, 16, 10, 200, 10000, 1000000, 10000000, 100000000);

CREATE TABLE IF NOT EXISTS PackageHash
(
    pkgh_mmh     UInt64,
    pkgh_md5     FixedString(16),
    pkgh_sha1    FixedString(20),
    pkgh_sha256  FixedString(32),
    pkgh_blake2b FixedString(64)
)
ENGINE = ReplacingMergeTree
PRIMARY KEY pkgh_mmh
ORDER BY (pkgh_mmh, pkgh_md5, pkgh_sha256);

CREATE TABLE IF NOT EXISTS PackageHash_buffer AS PackageHash
ENGINE = Buffer(currentDatabase(), PackageHash, 16, 10, 100, 10000, 1000000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS PackagesSourceAndBinaries
(
    buildtime    SimpleAggregateFunction(max, UInt32),
    src_pkg_name String,
    bin_pkg_name String
)
ENGINE = AggregatingMergeTree
ORDER BY (src_pkg_name, bin_pkg_name);

-- ---- Changelogs: texts are shared by thousands of packages and stored once ----

CREATE TABLE IF NOT EXISTS Changelog
(
    chlog_hash UInt64,
    chlog_text String
)
ENGINE = ReplacingMergeTree
PRIMARY KEY chlog_hash
ORDER BY (chlog_hash, chlog_text);

CREATE TABLE IF NOT EXISTS Changelog_buffer AS Changelog
ENGINE = Buffer(currentDatabase(), Changelog, 16, 10, 100, 1000, 1000000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS SrcPackagesLastChangelog
(
    pkg_hash   UInt64,
    chlog_nick String,
    chlog_name String,
    chlog_date DateTime,
    chlog_evr  String,
    chlog_text String
)
ENGINE = ReplacingMergeTree
ORDER BY pkg_hash;

-- ---- Files: names repeat across versions, so rows carry hashes and a dictionary the names ----

CREATE TABLE IF NOT EXISTS Files
(
    pkg_hash        UInt64,
    file_hashname   UInt64,
    file_hashdir    UInt64,
    file_linkto     String,
    file_md5        FixedString(16),
    file_size       UInt32,
    file_mode       UInt16,
    file_rdev       UInt16,
    file_mtime      DateTime,
    file_flag       UInt16,
    file_username   LowCardinality(String),
    file_groupname  LowCardinality(String),
    file_verifyflag UInt32,
    file_device     UInt32,
    file_lang       LowCardinality(String),
    file_class      Enum8('file' = 0, 'directory' = 1, 'symlink' = 2, 'socket' = 3, 'block' = 4, 'char' = 5, 'fifo' = 6)
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (pkg_hash, file_hashname)
ORDER BY (pkg_hash, file_hashname, file_class, file_md5);

CREATE TABLE IF NOT EXISTS Files_buffer AS Files
ENGINE = Buffer(currentDatabase(), Files, 16, 10, 100, 1000, 100000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS FileNames
(
    fn_name String,
    fn_hash UInt64 MATERIALIZED murmurHash3_64(fn_name)
)
ENGINE = ReplacingMergeTree
ORDER BY fn_name;

CREATE TABLE IF NOT EXISTS FileNames_buffer AS FileNames
ENGINE = Buffer(currentDatabase(), FileNames, 16, 10, 100, 1000, 100000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS Files_insert
(
    pkg_hash        UInt64,
    file_name       String,
    file_linkto     String,
    file_md5        FixedString(16),
    file_size       UInt32,
    file_mode       UInt16,
    file_rdev       UInt16,
    file_mtime      DateTime,
    file_flag       UInt16,
    file_username   LowCardinality(String),
    file_groupname  LowCardinality(String),
    file_verifyflag UInt32,
    file_device     UInt32,
    file_lang       LowCardinality(String),
    file_class      Enum8('file' = 0, 'directory' = 1, 'symlink' = 2, 'socket' = 3, 'block' = 4, 'char' = 5, 'fifo' = 6)
)
ENGINE = Null;

-- ---- Dependencies ----

CREATE TABLE IF NOT EXISTS Depends
(
    pkg_hash   UInt64,
    dp_name    String,
    dp_version String,
    dp_flag    UInt32,
    dp_type    Enum8('require' = 1, 'conflict' = 2, 'obsolete' = 3, 'provide' = 4)
)
ENGINE = ReplacingMergeTree
PRIMARY KEY dp_name
ORDER BY (dp_name, dp_version, dp_type, dp_flag, pkg_hash);

CREATE TABLE IF NOT EXISTS Depends_buffer AS Depends
ENGINE = Buffer(currentDatabase(), Depends, 16, 10, 200, 10000, 1000000, 1000000, 10000000);

-- ---- Spec files: base64 on the way in, so that clients that speak text can send any bytes ----

CREATE TABLE IF NOT EXISTS Specfiles
(
    pkg_hash         UInt64,
    pkg_name         String,
    pkg_epoch        UInt32,
    pkg_version      String,
    pkg_release      String,
    specfile_name    String,
    specfile_date    DateTime,
    specfile_content String
)
ENGINE = ReplacingMergeTree
ORDER BY (pkg_hash, specfile_content);

CREATE TABLE IF NOT EXISTS Specfiles_buffer AS Specfiles
ENGINE = Buffer(currentDatabase(), Specfiles, 16, 10, 100, 1000, 100000, 100000, 1000000);

CREATE TABLE IF NOT EXISTS Specfiles_insert
(
    pkg_hash                UInt64,
    pkg_name                String,
    pkg_epoch               UInt32,
    pkg_version             String,
    pkg_release             String,
    specfile_name           String,
    specfile_date           DateTime,
    specfile_content_base64 String
)
ENGINE = Null;

-- ---- Build tasks: a row per state of a task; readers join the three tables on task_changed ----

CREATE TABLE IF NOT EXISTS Tasks
(
    task_id            UInt32,
    subtask_id         UInt32,
    task_repo          LowCardinality(String),
    task_owner         LowCardinality(String),
    task_changed       DateTime,
    subtask_changed    DateTime,
    subtask_deleted    UInt8,
    subtask_userid     LowCardinality(String),
    subtask_dir        String,
    subtask_package    String,
    subtask_type       Enum8('unknown' = 0, 'srpm' = 1, 'gear' = 2, 'copy' = 3, 'delete' = 4, 'rebuild' = 5),
    subtask_pkg_from   LowCardinality(String),
    subtask_sid        String,
    subtask_tag_author String,
    subtask_tag_id     String,
    subtask_tag_name   String,
    subtask_srpm       String,
    subtask_srpm_name  String,
    subtask_srpm_evr   String,
    ts                 DateTime MATERIALIZED now()
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (task_id, subtask_id)
ORDER BY (task_id, subtask_id, task_changed, subtask_changed, subtask_deleted);

CREATE TABLE IF NOT EXISTS Tasks_buffer AS Tasks
ENGINE = Buffer(currentDatabase(), Tasks, 16, 10, 100, 1000, 100000, 100000, 1000000);

CREATE TABLE IF NOT EXISTS TaskStates
(
    task_changed       DateTime,
    task_id            UInt32,
    task_state         LowCardinality(String),
    task_runby         LowCardinality(String),
    task_depends       Array(UInt32),
    task_try           UInt16,
    task_testonly      UInt8,
    task_failearly     UInt8,
    task_shared        UInt8,
    task_message       String,
    task_version       String,
    task_prev          UInt32,
    task_eventlog_hash Array(UInt64),
    ts                 DateTime MATERIALIZED now()
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (task_changed, task_id)
ORDER BY (task_changed, task_id, task_state, task_try);

CREATE TABLE IF NOT EXISTS TaskStates_buffer AS TaskStates
ENGINE = Buffer(currentDatabase(), TaskStates, 16, 10, 100, 1000, 100000, 100000, 1000000);

CREATE TABLE IF NOT EXISTS TaskIterations
(
    task_id             UInt32,
    task_changed        DateTime,
    subtask_id          UInt32,
    subtask_arch        LowCardinality(String),
    titer_ts            DateTime,
    titer_status        LowCardinality(String),
    task_try            UInt16,
    task_iter           UInt8,
    titer_srcrpm_hash   UInt64,
    titer_pkgs_hash     Array(UInt64),
    titer_chroot_base   UInt64,
    titer_chroot_br     UInt64,
    titer_buildlog_hash UInt64,
    titer_srpmlog_hash  UInt64
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (task_id, subtask_id)
ORDER BY (task_id, subtask_id, subtask_arch, task_changed, titer_ts, titer_status, task_try, task_iter);

CREATE TABLE IF NOT EXISTS TaskIterations_buffer AS TaskIterations
ENGINE = Buffer(currentDatabase(), TaskIterations, 16, 10, 100, 1000, 100000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS TaskChroots
(
    tch_hash   UInt64 MATERIALIZED murmurHash3_64(tch_chroot),
    tch_chroot Array(UInt64)
)
ENGINE = ReplacingMergeTree
ORDER BY tch_chroot;

CREATE TABLE IF NOT EXISTS TaskChroots_buffer AS TaskChroots
ENGINE = Buffer(currentDatabase(), TaskChroots, 16, 10, 100, 1000, 100000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS TaskLogs
(
    tlog_hash    UInt64,
    tlog_line    UInt32,
    tlog_ts      DateTime,
    tlog_message String
)
ENGINE = ReplacingMergeTree
ORDER BY (tlog_message, tlog_line, tlog_hash);

CREATE TABLE IF NOT EXISTS TaskLogs_buffer AS TaskLogs
ENGINE = Buffer(currentDatabase(), TaskLogs, 16, 10, 100, 1000, 100000, 1000000, 10000000);

CREATE TABLE IF NOT EXISTS TaskPlanPackages
(
    tplan_hash     UInt64,
    tplan_action   Enum8('add' = 0, 'delete' = 1),
    tplan_pkg_name String,
    tplan_pkg_evr  String,
    tplan_bin_file String,
    tplan_src_file String,
    tplan_arch     LowCardinality(String),
    tplan_comp     LowCardinality(String),
    tplan_subtask  UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (tplan_hash, tplan_action, tplan_src_file, tplan_bin_file);

CREATE TABLE IF NOT EXISTS TaskPlanPkgHash
(
    tplan_hash   UInt64,
    tplan_action Enum8('add' = 0, 'delete' = 1),
    tplan_sha256 FixedString(32)
)
ENGINE = ReplacingMergeTree
ORDER BY (tplan_hash, tplan_action, tplan_sha256);

CREATE TABLE IF NOT EXISTS TaskApprovals
(
    task_id      UInt32,
    subtask_id   UInt32,
    tapp_type    Enum8('approve' = 0, 'disapprove' = 1),
    tapp_revoked UInt8,
    tapp_date    DateTime,
    tapp_name    LowCardinality(String),
    tapp_message String,
    ts           DateTime MATERIALIZED now()
)
ENGINE = MergeTree
ORDER BY (tapp_date, task_id, subtask_id);

CREATE TABLE IF NOT EXISTS TaskProgress
(
    task_id            UInt32,
    task_try           UInt16,
    task_iter          UInt8,
    subtask_id         UInt32,
    tp_girar_user      LowCardinality(String),
    tp_repo            LowCardinality(String),
    tp_owner           LowCardinality(String),
    tp_state           LowCardinality(String),
    tp_task_changed    DateTime,
    tp_subtask_changed Nullable(DateTime),
    tp_arch            LowCardinality(String),
    tp_json            String,
    tp_type            Enum8('task' = 0, 'subtask' = 1),
    tp_action          Enum8('state' = 0, 'abort' = 1, 'create' = 2, 'delete' = 3, 'share' = 4, 'deps' = 5, 'approve' = 6, 'disapprove' = 7, 'progress' = 8),
    ts                 DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY task_id
ORDER BY (task_id, subtask_id, tp_task_changed, tp_type, tp_action);

CREATE TABLE IF NOT EXISTS BranchPackageHistory
(
    pkgset_name       LowCardinality(String),
    task_id           UInt32,
    task_changed      DateTime,
    task_message      String,
    tplan_action      Enum8('add' = 0, 'delete' = 1),
    pkg_hash          UInt64,
    pkg_name          String,
    pkg_epoch         UInt32,
    pkg_version       String,
    pkg_release       String,
    pkg_arch          LowCardinality(String),
    pkg_sourcepackage UInt8,
    chlog_date        DateTime,
    chlog_name        String,
    chlog_nick        LowCardinality(String),
    chlog_evr         String,
    chlog_text        String
)
ENGINE = ReplacingMergeTree
ORDER BY (pkg_hash, pkgset_name, pkg_name, pkg_sourcepackage, task_id);

-- ---- Maintainers' access lists ----

-- The running newest list keeps what was inserted last; loaders insert in order of date.

CREATE TABLE IF NOT EXISTS Acl
(
    acl_date   DateTime,
    acl_for    String,
    acl_branch String,
    acl_list   Array(String)
)
ENGINE = MergeTree
PRIMARY KEY (acl_date, acl_branch)
ORDER BY (acl_date, acl_branch, acl_for, acl_list);

CREATE TABLE IF NOT EXISTS last_acl_stage1
(
    acl_branch    String,
    acl_date_last SimpleAggregateFunction(max, DateTime),
    acl_for       String,
    acl_list      SimpleAggregateFunction(anyLast, Array(String))
)
ENGINE = AggregatingMergeTree
ORDER BY (acl_branch, acl_for);

-- ---- Vulnerabilities, as other tools fed them in 2022 ----

CREATE TABLE IF NOT EXISTS Cve
(
    pkg_hash                    UInt64,
    cve_id                      String,
    cve_description             String,
    cve_url                     String,
    cve_score                   Float64,
    cve_attacktype              String,
    cve_status                  Enum8('check' = 0, 'patched' = 1, 'discarded_by_version_check' = 2, 'manually_excluded' = 3),
    cve_uris                    Array(String),
    cve_modifieddate            DateTime,
    cve_parsingdate             DateTime,
    cve_cpe                     String,
    cve_version_start_excluding Nullable(String),
    cve_version_start_including Nullable(String),
    cve_version_end_excluding   Nullable(String),
    cve_version_end_including   Nullable(String),
    cc_id                       Nullable(UInt64)
)
ENGINE = MergeTree
ORDER BY (pkg_hash, cve_id, cve_modifieddate, cve_parsingdate);

CREATE TABLE IF NOT EXISTS CveAbsentPackages
(
    cap_product_name String,
    cve_id           String,
    cve_description  String,
    cve_url          String,
    cve_score        Float64,
    cve_attacktype   String,
    cve_uris         Array(String),
    cve_modifieddate DateTime,
    cve_parsingdate  DateTime
)
ENGINE = MergeTree
ORDER BY (cap_product_name, cve_id, cve_modifieddate, cve_parsingdate);

CREATE TABLE IF NOT EXISTS CveChecked
(
    cve_id                      String,
    pkg_name                    String,
    cc_id                       UInt64 MATERIALIZED murmurHash3_64(cve_id, pkg_name, `cc_checked_ver.pkg_evr`, `cc_checked_ver.pkg_branch`),
    cc_status                   Enum8('patched' = 0, 'manually_excluded' = 1),
    cc_checkdate                DateTime,
    cc_description              String,
    cc_description_ru           String,
    `cc_checked_ver.pkg_evr`    Array(String),
    `cc_checked_ver.pkg_branch` Array(String)
)
ENGINE = MergeTree
PRIMARY KEY (cve_id, pkg_name)
ORDER BY (cve_id, pkg_name, cc_checkdate);

CREATE TABLE IF NOT EXISTS FstecBduList
(
    bdu_identifier                    String,
    bdu_name                          String,
    bdu_description                   String,
    bdu_identify_date                 Date,
    bdu_severity                      String,
    bdu_solution                      String,
    bdu_vul_status                    String,
    bdu_exploit_status                String,
    bdu_fix_status                    String,
    bdu_sources                       String,
    bdu_other                         String,
    `bdu_vulnerable_software.vendor`  Array(String),
    `bdu_vulnerable_software.type`    Array(Array(String)),
    `bdu_vulnerable_software.name`    Array(String),
    `bdu_vulnerable_software.version` Array(String),
    `bdu_environment.vendor`          Array(String),
    `bdu_environment.version`         Array(String),
    `bdu_environment.name`            Array(String),
    `bdu_environment.platform`        Array(String),
    `bdu_cwe.identifier`              Array(String),
    `bdu_cvss.vector`                 Array(String),
    `bdu_cvss.score`                  Array(Float32),
    `bdu_identifiers.identifier`      Array(String),
    `bdu_identifiers.type`            Array(String),
    `bdu_identifiers.link`            Array(String)
)
ENGINE = MergeTree
PRIMARY KEY (bdu_identifier, bdu_identify_date)
ORDER BY (bdu_identifier, bdu_identify_date, bdu_name);

-- ---- Reports of other services ----

CREATE TABLE IF NOT EXISTS PackagesRepocop
(
    pkg_name          String,
    pkg_version       String,
    pkg_release       String,
    pkg_arch          LowCardinality(String),
    pkgset_name       LowCardinality(String),
    rc_srcpkg_name    String,
    rc_srcpkg_version String,
    rc_srcpkg_release String,
    rc_test_name      LowCardinality(String),
    rc_test_date      DateTime,
    rc_test_status    LowCardinality(String),
    rc_test_message   String,
    ts                DateTime64(3) MATERIALIZED now64()
)
ENGINE = ReplacingMergeTree
ORDER BY (pkg_name, pkg_version, pkg_release, pkg_arch, pkgset_name, rc_test_name, rc_test_date);

CREATE TABLE IF NOT EXISTS Bugzilla
(
    bz_id            UInt32,
    bz_status        LowCardinality(String),
    bz_resolution    LowCardinality(String),
    bz_severity      LowCardinality(String),
    bz_priority      LowCardinality(String),
    bz_product       LowCardinality(String),
    bz_version       LowCardinality(String),
    bz_platform      LowCardinality(String),
    bz_component     String,
    bz_assignee      String,
    bz_reporter      String,
    bz_summary       String,
    bz_last_changed  DateTime,
    bz_assignee_full String,
    bz_reporter_full String,
    ts               DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY bz_id
ORDER BY (bz_id, bz_component, bz_assignee);

CREATE TABLE IF NOT EXISTS BeehiveStatus
(
    pkg_hash       UInt64,
    pkg_name       String,
    pkg_version    String,
    pkg_release    String,
    pkgset_name    LowCardinality(String),
    bh_arch        LowCardinality(String),
    bh_status      Enum8('error' = 0, 'success' = 1),
    bh_build_time  Float32,
    bh_updated     DateTime,
    bh_ftbfs_since DateTime
)
ENGINE = MergeTree
PRIMARY KEY (pkgset_name, pkg_name)
ORDER BY (pkgset_name, pkg_name, bh_updated, bh_arch, pkg_hash);

CREATE TABLE IF NOT EXISTS PackagesWatch
(
    acl         String,
    pkg_name    String,
    old_version String,
    new_version String,
    url         String,
    date_update DateTime
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(date_update)
ORDER BY (acl, date_update, pkg_name, old_version, new_version, url);

-- ---- Images and branches as the web site shows them ----

CREATE TABLE IF NOT EXISTS ImagePackageSetName
(
    pkgset_uuid       UUID,
    pkgset_date       DateTime,
    img_tag           String,
    img_branch        LowCardinality(String),
    img_edition       LowCardinality(String),
    img_flavor        LowCardinality(String),
    img_platform      LowCardinality(String),
    img_release       LowCardinality(String),
    img_version_major UInt32,
    img_version_minor UInt32,
    img_version_sub   UInt32,
    img_arch          LowCardinality(String),
    img_variant       LowCardinality(String),
    img_type          LowCardinality(String),
    img_kv            Map(String, String),
    ts                DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY (pkgset_date, img_branch, img_edition)
ORDER BY (pkgset_date, img_branch, img_edition, img_arch, img_variant, img_release);

CREATE TABLE IF NOT EXISTS ImageStatus
(
    img_branch         LowCardinality(String),
    img_edition        LowCardinality(String),
    img_name           String,
    img_show           Enum8('hide' = 0, 'show' = 1),
    img_start_date     DateTime,
    img_end_date       DateTime,
    img_summary_ru     String,
    img_summary_en     String,
    img_description_ru String,
    img_description_en String,
    img_mailing_list   LowCardinality(String),
    img_name_bugzilla  LowCardinality(String),
    img_json           String,
    ts                 DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY (img_branch, img_edition)
ORDER BY (img_branch, img_edition, img_show);

CREATE TABLE IF NOT EXISTS ImageTagStatus
(
    img_tag  String,
    img_show Enum8('hide' = 0, 'show' = 1),
    ts       DateTime64(3) MATERIALIZED now64()
)
ENGINE = ReplacingMergeTree
ORDER BY img_tag;

CREATE TABLE IF NOT EXISTS RepositoryStatus
(
    pkgset_name             LowCardinality(String),
    rs_start_date           DateTime,
    rs_end_date             DateTime,
    rs_show                 UInt8,
    rs_description_ru       String,
    rs_description_en       String,
    rs_mirrors_json         String,
    rs_mailing_list         LowCardinality(String),
    rs_pkgset_name_bugzilla LowCardinality(String),
    ts                      DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY pkgset_name
ORDER BY (pkgset_name, rs_show);

-- ---- Licences ----

CREATE TABLE IF NOT EXISTS SPDXLicenses
(
    spdx_id     String,
    spdx_name   String,
    spdx_text   String,
    spdx_header String,
    spdx_urls   Array(String),
    spdx_type   Enum8('license' = 0, 'exception' = 1)
)
ENGINE = ReplacingMergeTree
ORDER BY (spdx_id, spdx_type, spdx_name, spdx_text);

CREATE TABLE IF NOT EXISTS LicenseAliases
(
    alias   String,
    spdx_id String
)
ENGINE = ReplacingMergeTree
ORDER BY (alias, spdx_id);

-- ======== Views for readers ========

-- ---- Package sets ----

CREATE VIEW IF NOT EXISTS static_last_packages AS
SELECT pkgset_name, pkgset_date, pkg_hash, pkg_name, pkg_version, pkg_release, pkg_sourcepackage
FROM StaticLastPackages
WHERE (pkgset_name, pkgset_date) IN
(
    SELECT pkgset_name, max(pkgset_date)
    FROM StaticLastPackages
    GROUP BY pkgset_name
);

CREATE VIEW IF NOT EXISTS last_pkgnames_without_pname AS
SELECT
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    root.pkgset_name AS pkgset_name,
    node.`pkgset_kv.v`[indexOf(node.`pkgset_kv.k`, 'class')] AS pkgset_class
FROM PackageSetName AS node
INNER JOIN
(
    SELECT argMax(pkgset_ruuid, pkgset_date) AS pkgset_ruuid, pkgset_nodename AS pkgset_name
    FROM PackageSetName
    WHERE pkgset_depth = 0
    GROUP BY pkgset_nodename
) AS root ON node.pkgset_ruuid = root.pkgset_ruuid;

CREATE VIEW IF NOT EXISTS all_pkgnames_without_pname AS
SELECT
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    root.pkgset_name AS pkgset_name,
    node.`pkgset_kv.v`[indexOf(node.`pkgset_kv.k`, 'class')] AS pkgset_class
FROM PackageSetName AS node
INNER JOIN
(
    SELECT pkgset_ruuid, pkgset_nodename AS pkgset_name
    FROM PackageSetName
    WHERE pkgset_depth = 0
) AS root ON node.pkgset_ruuid = root.pkgset_ruuid
ORDER BY pkgset_name, pkgset_depth;

CREATE VIEW IF NOT EXISTS last_pkgnames AS
SELECT
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    node.pkgset_name AS pkgset_name,
    node.pkgset_class AS pkgset_class,
    parent.pkgset_nodename AS pkgset_pname
FROM last_pkgnames_without_pname AS node
LEFT JOIN (SELECT pkgset_uuid, pkgset_nodename FROM PackageSetName) AS parent
    ON node.pkgset_puuid = parent.pkgset_uuid;

CREATE VIEW IF NOT EXISTS all_pkgnames AS
SELECT
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    node.pkgset_name AS pkgset_name,
    node.pkgset_class AS pkgset_class,
    parent.pkgset_nodename AS pkgset_pname
FROM all_pkgnames_without_pname AS node
LEFT JOIN (SELECT pkgset_uuid, pkgset_nodename FROM PackageSetName) AS parent
    ON node.pkgset_puuid = parent.pkgset_uuid;

-- The joins below start from the members: the planner loses a column in readers' statements
-- when they start from the names.

CREATE VIEW IF NOT EXISTS last_pkgset AS
SELECT
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    node.pkgset_name AS pkgset_name,
    node.pkgset_class AS pkgset_class,
    node.pkgset_pname AS pkgset_pname,
    member.pkg_hash AS pkg_hash
FROM
(
    SELECT pkgset_uuid, pkg_hash
    FROM PackageSet_buffer
    WHERE pkgset_uuid IN (SELECT pkgset_uuid FROM last_pkgnames_without_pname)
) AS member
INNER JOIN last_pkgnames AS node ON member.pkgset_uuid = node.pkgset_uuid;

CREATE VIEW IF NOT EXISTS all_pkgset AS
SELECT
    node.pkgset_uuid AS pkgset_uuid,
    node.pkgset_ruuid AS pkgset_ruuid,
    node.pkgset_puuid AS pkgset_puuid,
    node.pkgset_depth AS pkgset_depth,
    node.pkgset_nodename AS pkgset_nodename,
    node.pkgset_date AS pkgset_date,
    node.pkgset_tag AS pkgset_tag,
    node.pkgset_complete AS pkgset_complete,
    node.`pkgset_kv.k` AS `pkgset_kv.k`,
    node.`pkgset_kv.v` AS `pkgset_kv.v`,
    node.pkgset_name AS pkgset_name,
    node.pkgset_class AS pkgset_class,
    node.pkgset_pname AS pkgset_pname,
    member.pkg_hash AS pkg_hash
FROM (SELECT pkgset_uuid, pkg_hash FROM PackageSet_buffer) AS member
INNER JOIN all_pkgnames AS node ON member.pkgset_uuid = node.pkgset_uuid;

-- ---- Packages ----

CREATE VIEW IF NOT EXISTS last_packages AS
SELECT
    package.pkg_hash AS pkg_hash,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.`pkg_changelog.date` AS `pkg_changelog.date`,
    package.`pkg_changelog.name` AS `pkg_changelog.name`,
    package.`pkg_changelog.evr` AS `pkg_changelog.evr`,
    package.`pkg_changelog.hash` AS `pkg_changelog.hash`,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    state.pkgset_name AS pkgset_name,
    state.pkgset_date AS pkgset_date,
    lower(hex(package.pkg_cs)) AS pkg_cs
FROM Packages_buffer AS package
INNER JOIN (SELECT pkg_hash, pkgset_name, pkgset_date FROM static_last_packages) AS state
    ON package.pkg_hash = state.pkg_hash;

CREATE VIEW IF NOT EXISTS all_packages AS
SELECT
    member.pkg_hash AS pkg_hash,
    member.pkgset_uuid AS pkgset_uuid,
    member.pkgset_ruuid AS pkgset_ruuid,
    member.pkgset_puuid AS pkgset_puuid,
    member.pkgset_depth AS pkgset_depth,
    member.pkgset_nodename AS pkgset_nodename,
    member.pkgset_date AS pkgset_date,
    member.pkgset_tag AS pkgset_tag,
    member.pkgset_complete AS pkgset_complete,
    member.`pkgset_kv.k` AS `pkgset_kv.k`,
    member.`pkgset_kv.v` AS `pkgset_kv.v`,
    member.pkgset_name AS pkgset_name,
    member.pkgset_class AS pkgset_class,
    member.pkgset_pname AS pkgset_pname,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.`pkg_changelog.date` AS `pkg_changelog.date`,
    package.`pkg_changelog.name` AS `pkg_changelog.name`,
    package.`pkg_changelog.evr` AS `pkg_changelog.evr`,
    package.`pkg_changelog.hash` AS `pkg_changelog.hash`,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    lower(hex(package.pkg_cs)) AS pkg_cs
FROM Packages_buffer AS package
INNER JOIN all_pkgset AS member ON package.pkg_hash = member.pkg_hash;

CREATE VIEW IF NOT EXISTS all_packages_with_source AS
SELECT
    package.pkg_hash AS pkg_hash,
    package.pkg_cs AS pkg_cs,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.`pkg_changelog.date` AS `pkg_changelog.date`,
    package.`pkg_changelog.name` AS `pkg_changelog.name`,
    package.`pkg_changelog.evr` AS `pkg_changelog.evr`,
    package.`pkg_changelog.hash` AS `pkg_changelog.hash`,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    source.pkg_srcrpm_hash AS `srcPackage.pkg_srcrpm_hash`,
    source.sourcepkgname AS sourcepkgname
FROM
(
    SELECT *
    FROM Packages_buffer
    WHERE pkg_sourcepackage = 0 AND pkg_srcrpm_hash != 0
) AS package
LEFT JOIN
(
    SELECT pkg_hash AS pkg_srcrpm_hash, pkg_name AS sourcepkgname
    FROM Packages_buffer
    WHERE pkg_sourcepackage = 1
) AS source ON package.pkg_srcrpm_hash = source.pkg_srcrpm_hash;

CREATE VIEW IF NOT EXISTS last_packages_with_source AS
SELECT
    package.pkg_hash AS `pkg.pkg_hash`,
    package.pkg_cs AS pkg_cs,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.`pkg_changelog.date` AS `pkg_changelog.date`,
    package.`pkg_changelog.name` AS `pkg_changelog.name`,
    package.`pkg_changelog.evr` AS `pkg_changelog.evr`,
    package.`pkg_changelog.hash` AS `pkg_changelog.hash`,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    package.`srcPackage.pkg_srcrpm_hash` AS `srcPackage.pkg_srcrpm_hash`,
    package.sourcepkgname AS sourcepkgname,
    member.pkgset_name AS pkgset_name,
    member.pkgset_date AS pkgset_date,
    member.pkg_hash AS pkg_hash
FROM (SELECT pkg_hash, pkgset_name, pkgset_date FROM last_pkgset) AS member
ALL INNER JOIN all_packages_with_source AS package ON member.pkg_hash = package.pkg_hash;

-- A live view once. That kind is gone from the server, the name is not.
CREATE VIEW IF NOT EXISTS lv_pkgset_stat AS
SELECT
    pkgset_name,
    pkgset_date,
    if(package.pkg_sourcepackage = 1, 'srpm', toString(package.pkg_arch)) AS pkg_arch,
    uniqExact(package.pkg_sourcerpm) AS cnt
FROM static_last_packages AS state
LEFT JOIN
(
    SELECT
        pkg_hash,
        pkg_sourcepackage,
        CAST(Packages_buffer.pkg_arch, 'String') AS pkg_arch,
        pkg_sourcerpm
    FROM Packages_buffer
    WHERE pkg_hash IN (SELECT pkg_hash FROM static_last_packages)
) AS package ON state.pkg_hash = package.pkg_hash
WHERE package.pkg_arch != 'x86_64-i586'
GROUP BY
    pkgset_name,
    pkgset_date,
    if(package.pkg_sourcepackage = 1, 'srpm', toString(package.pkg_arch));

CREATE VIEW IF NOT EXISTS PackageHash_view AS
SELECT
    pkgh_mmh,
    lower(hex(PackageHash_buffer.pkgh_md5)) AS pkgh_md5,
    lower(hex(PackageHash_buffer.pkgh_sha1)) AS pkgh_sha1,
    lower(hex(PackageHash_buffer.pkgh_sha256)) AS pkgh_sha256,
    lower(hex(PackageHash_buffer.pkgh_blake2b)) AS pkgh_blake2b
FROM PackageHash_buffer;

-- ---- Changelogs ----

-- The texts stand on the left: whoever asks for one package gets a small table of its entries to
-- compare them with, instead of all texts in memory.
CREATE VIEW IF NOT EXISTS PackageChangelog_view AS
SELECT
    pkg_hash,
    arrayMap(
        entry -> (toDate(entry.1), entry.2, entry.3, entry.4),
        arrayReverseSort(
            entry -> (entry.1, entry.3),
            groupUniqArray((entry_date, entry_name, entry_evr, chlog_text))
        )
    ) AS changelog
FROM Changelog_buffer AS text
INNER JOIN
(
    SELECT pkg_hash, entry_date, entry_name, entry_evr, entry_hash
    FROM Packages
    ARRAY JOIN
        `pkg_changelog.date` AS entry_date,
        `pkg_changelog.name` AS entry_name,
        `pkg_changelog.evr` AS entry_evr,
        `pkg_changelog.hash` AS entry_hash
) AS entry ON text.chlog_hash = entry.entry_hash
GROUP BY pkg_hash;

CREATE VIEW IF NOT EXISTS PackagesWithLastChangelog_view AS
SELECT DISTINCT
    package.pkg_hash AS pkg_hash,
    package.pkg_cs AS pkg_cs,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    toDate(package.`pkg_changelog.date`[1]) AS pkg_changelog_date,
    package.`pkg_changelog.name`[1] AS pkg_changelog_name,
    package.`pkg_changelog.evr`[1] AS pkg_changelog_evr,
    text.chlog_text AS pkg_changelog_message
FROM Packages_buffer AS package
LEFT JOIN Changelog_buffer AS text ON package.`pkg_changelog.hash`[1] = text.chlog_hash;

-- ---- Files and dependencies ----

CREATE VIEW IF NOT EXISTS Files_view AS
SELECT
    name.fn_name AS file_name,
    file.pkg_hash AS pkg_hash,
    file.file_hashname AS file_hashname,
    file.file_hashdir AS file_hashdir,
    file.file_linkto AS file_linkto,
    file.file_md5 AS file_md5,
    file.file_size AS file_size,
    file.file_mode AS file_mode,
    file.file_rdev AS file_rdev,
    file.file_mtime AS file_mtime,
    file.file_flag AS file_flag,
    file.file_username AS file_username,
    file.file_groupname AS file_groupname,
    file.file_verifyflag AS file_verifyflag,
    file.file_device AS file_device,
    file.file_lang AS file_lang,
    file.file_class AS file_class
FROM FileNames_buffer AS name
INNER JOIN Files_buffer AS file ON name.fn_hash = file.file_hashname;

CREATE VIEW IF NOT EXISTS last_depends AS
SELECT
    depend.pkg_hash AS pkg_hash,
    depend.dp_name AS dp_name,
    depend.dp_version AS dp_version,
    depend.dp_flag AS dp_flag,
    depend.dp_type AS dp_type,
    package.pkg_name AS pkg_name,
    package.pkg_version AS pkg_version,
    package.pkgset_name AS pkgset_name,
    package.pkgset_date AS pkgset_date,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_arch AS pkg_arch,
    package.pkg_filename AS pkg_filename,
    package.pkg_sourcerpm AS pkg_sourcerpm
FROM Depends AS depend
ALL INNER JOIN last_packages AS package ON depend.pkg_hash = package.pkg_hash;

-- ---- Tasks ----

-- The key of a build plan is a hash of text, because no other number survives the build system's
-- renaming of its files; readers compute it in the same way.
CREATE VIEW IF NOT EXISTS task_plan_hashes AS
SELECT
    task_id,
    murmurHash3_64(
        concat(toString(task_id), toString(run.1), toString(run.2), tplan_arch)
    ) AS tplan_hash,
    arrayJoin(
        arrayDistinct(arrayConcat(archs, ['src', 'noarch', 'x86_64-i586']))
    ) AS tplan_arch
FROM
(
    SELECT
        task_id,
        argMax((task_try, task_iter), (task_changed, task_try, task_iter)) AS run,
        groupUniqArray(toString(subtask_arch)) AS archs
    FROM TaskIterations
    WHERE task_id IN (SELECT task_id FROM TaskStates WHERE task_state = 'DONE')
    GROUP BY task_id
);

-- ---- Access lists ----

CREATE VIEW IF NOT EXISTS last_acl AS
SELECT
    acl_branch,
    max(acl_date) AS acl_date_last,
    acl_for,
    argMax(Acl.acl_list, acl_date) AS acl_list
FROM Acl
GROUP BY acl_branch, acl_for;

-- Rows of the running list wait for a merge; the newest one is chosen here, so that a person who
-- left a group does not linger in it.
CREATE VIEW IF NOT EXISTS last_acl_with_groups
(
    acl_branch String,
    acl_date   DateTime,
    pkgname    String,
    acl_user   String,
    order_u    UInt32,
    order_g    UInt32
)
AS
SELECT
    acl_branch,
    max(acl_date_last) AS acl_date,
    acl_for AS pkgname,
    argMax(if(order_g = 0, member, group_member), acl_date_last) AS acl_user,
    order_u,
    order_g
FROM
(
    SELECT acl_branch, acl_for, acl_date_last, member, order_u
    FROM
    (
        SELECT
            acl_branch,
            acl_for,
            max(toDateTime(last_acl_stage1.acl_date_last)) AS acl_date_last,
            argMax(last_acl_stage1.acl_list, last_acl_stage1.acl_date_last) AS acl_list
        FROM last_acl_stage1
        GROUP BY acl_branch, acl_for
    )
    ARRAY JOIN acl_list AS member, arrayEnumerate(acl_list) AS order_u
) AS target
LEFT JOIN
(
    SELECT acl_branch, acl_for AS group_name, group_member, order_g
    FROM
    (
        SELECT
            acl_branch,
            acl_for,
            argMax(last_acl_stage1.acl_list, last_acl_stage1.acl_date_last) AS acl_list
        FROM last_acl_stage1
        WHERE startsWith(acl_for, '@')
        GROUP BY acl_branch, acl_for
    )
    ARRAY JOIN acl_list AS group_member, arrayEnumerate(acl_list) AS order_g
) AS group ON target.member = group.group_name AND target.acl_branch = group.acl_branch
GROUP BY acl_for, acl_branch, order_u, order_g
ORDER BY order_u, order_g;

-- ---- Vulnerabilities ----

CREATE VIEW IF NOT EXISTS last_cve AS
SELECT
    match.pkg_hash AS pkg_hash,
    match.cve_id AS cve_id,
    match.cve_description AS cve_description,
    match.cve_url AS cve_url,
    match.cve_score AS cve_score,
    match.cve_attacktype AS cve_attacktype,
    match.cve_status AS cve_status,
    match.cve_uris AS cve_uris,
    match.cve_modifieddate AS cve_modifieddate,
    match.cve_parsingdate AS cve_parsingdate,
    match.cve_cpe AS cve_cpe,
    match.cve_version_start_excluding AS cve_version_start_excluding,
    match.cve_version_start_including AS cve_version_start_including,
    match.cve_version_end_excluding AS cve_version_end_excluding,
    match.cve_version_end_including AS cve_version_end_including,
    match.cc_id AS cc_id,
    package.pkg_packager AS pkg_packager,
    package.pkg_packager_email AS pkg_packager_email,
    package.pkg_name AS pkg_name,
    package.pkg_arch AS pkg_arch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_serial_ AS pkg_serial_,
    package.pkg_buildtime AS pkg_buildtime,
    package.pkg_buildhost AS pkg_buildhost,
    package.pkg_size AS pkg_size,
    package.pkg_archivesize AS pkg_archivesize,
    package.pkg_filesize AS pkg_filesize,
    package.pkg_rpmversion AS pkg_rpmversion,
    package.pkg_cookie AS pkg_cookie,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.pkg_disttag AS pkg_disttag,
    package.pkg_sourcerpm AS pkg_sourcerpm,
    package.pkg_srcrpm_hash AS pkg_srcrpm_hash,
    package.pkg_filename AS pkg_filename,
    package.pkg_complete AS pkg_complete,
    package.pkg_summary AS pkg_summary,
    package.pkg_description AS pkg_description,
    package.`pkg_changelog.date` AS `pkg_changelog.date`,
    package.`pkg_changelog.name` AS `pkg_changelog.name`,
    package.`pkg_changelog.evr` AS `pkg_changelog.evr`,
    package.`pkg_changelog.hash` AS `pkg_changelog.hash`,
    package.pkg_distribution AS pkg_distribution,
    package.pkg_vendor AS pkg_vendor,
    package.pkg_gif AS pkg_gif,
    package.pkg_xpm AS pkg_xpm,
    package.pkg_license AS pkg_license,
    package.pkg_group_ AS pkg_group_,
    package.pkg_url AS pkg_url,
    package.pkg_os AS pkg_os,
    package.pkg_prein AS pkg_prein,
    package.pkg_postin AS pkg_postin,
    package.pkg_preun AS pkg_preun,
    package.pkg_postun AS pkg_postun,
    package.pkg_icon AS pkg_icon,
    package.pkg_preinprog AS pkg_preinprog,
    package.pkg_postinprog AS pkg_postinprog,
    package.pkg_preunprog AS pkg_preunprog,
    package.pkg_postunprog AS pkg_postunprog,
    package.pkg_buildarchs AS pkg_buildarchs,
    package.pkg_verifyscript AS pkg_verifyscript,
    package.pkg_verifyscriptprog AS pkg_verifyscriptprog,
    package.pkg_prefixes AS pkg_prefixes,
    package.pkg_instprefixes AS pkg_instprefixes,
    package.pkg_optflags AS pkg_optflags,
    package.pkg_disturl AS pkg_disturl,
    package.pkg_payloadformat AS pkg_payloadformat,
    package.pkg_payloadcompressor AS pkg_payloadcompressor,
    package.pkg_payloadflags AS pkg_payloadflags,
    package.pkg_platform AS pkg_platform,
    package.pkgset_name AS pkgset_name,
    package.pkgset_date AS pkgset_date,
    package.pkg_cs AS pkg_cs
FROM Cve AS match
LEFT JOIN last_packages AS package ON match.pkg_hash = package.pkg_hash;

-- ======== Views that fire on insert ========

-- They come last: a client that is cut off here leaves tables that accept rows, never tables
-- whose rows are spread by half.

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_last_packages_stage1 TO last_packages_stage1
(
    pkgset_ruuid UUID,
    pkgset_name  String,
    pkgset_date  DateTime
)
AS SELECT pkgset_ruuid, pkgset_nodename AS pkgset_name, pkgset_date
FROM PackageSetName
WHERE pkgset_depth = 0 AND `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'class')] = 'repository';

-- Every mention of last_packages_stage1 means the inserted roots alone, and it must come first, for
-- that makes it the table that fires. Members are joined to their own root, so that two roots in
-- one insert do not share their packages.
CREATE MATERIALIZED VIEW IF NOT EXISTS mv_last_packages_stage2 TO StaticLastPackages
(
    pkgset_name       String,
    pkgset_date       DateTime,
    pkg_hash          UInt64,
    pkg_name          String,
    pkg_version       String,
    pkg_release       String,
    pkg_sourcepackage UInt8
)
AS SELECT
    member.pkgset_name AS pkgset_name,
    member.pkgset_date AS pkgset_date,
    package.pkg_hash AS pkg_hash,
    package.pkg_name AS pkg_name,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_sourcepackage AS pkg_sourcepackage
FROM
(
    SELECT DISTINCT
        root.pkgset_ruuid AS pkgset_ruuid,
        root.pkgset_name AS pkgset_name,
        root.pkgset_date AS pkgset_date,
        content.pkg_hash AS pkg_hash
    FROM
    (
        SELECT pkgset_ruuid, pkgset_name, pkgset_date
        FROM last_packages_stage1
    ) AS root
    INNER JOIN
    (
        SELECT pkgset_uuid, pkgset_ruuid
        FROM PackageSetName
        WHERE pkgset_ruuid IN (SELECT pkgset_ruuid FROM last_packages_stage1)
    ) AS node ON root.pkgset_ruuid = node.pkgset_ruuid
    INNER JOIN
    (
        SELECT pkgset_uuid, pkg_hash
        FROM PackageSet_buffer
        WHERE pkgset_uuid IN
        (
            SELECT pkgset_uuid
            FROM PackageSetName
            WHERE pkgset_ruuid IN (SELECT pkgset_ruuid FROM last_packages_stage1)
        )
    ) AS content ON node.pkgset_uuid = content.pkgset_uuid
) AS member
INNER JOIN
(
    SELECT DISTINCT pkg_hash, pkg_name, pkg_version, pkg_release, pkg_sourcepackage
    FROM Packages_buffer
    WHERE pkg_hash IN
    (
        SELECT pkg_hash
        FROM PackageSet_buffer
        WHERE pkgset_uuid IN
        (
            SELECT pkgset_uuid
            FROM PackageSetName
            WHERE pkgset_ruuid IN (SELECT pkgset_ruuid FROM last_packages_stage1)
        )
    )
) AS package ON member.pkg_hash = package.pkg_hash;

-- An image without version keys has version 0.0.0 rather than no row at all.
CREATE MATERIALIZED VIEW IF NOT EXISTS mv_image_pkgset TO ImagePackageSetName
(
    pkgset_uuid       UUID,
    pkgset_date       DateTime,
    img_tag           String,
    img_branch        LowCardinality(String),
    img_edition       LowCardinality(String),
    img_flavor        LowCardinality(String),
    img_platform      LowCardinality(String),
    img_release       LowCardinality(String),
    img_version_major UInt32,
    img_version_minor UInt32,
    img_version_sub   UInt32,
    img_arch          LowCardinality(String),
    img_variant       LowCardinality(String),
    img_type          LowCardinality(String),
    img_kv            Map(String, String)
)
AS WITH
    [
        'branch', 'edition', 'flavor', 'platform', 'release', 'version_major', 'version_minor',
        'version_sub', 'arch', 'variant', 'image_type'
    ] AS own_keys
SELECT
    pkgset_uuid,
    pkgset_date,
    pkgset_tag AS img_tag,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'branch')] AS img_branch,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'edition')] AS img_edition,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'flavor')] AS img_flavor,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'platform')] AS img_platform,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'release')] AS img_release,
    toUInt32OrZero(`pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'version_major')]) AS img_version_major,
    toUInt32OrZero(`pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'version_minor')]) AS img_version_minor,
    toUInt32OrZero(`pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'version_sub')]) AS img_version_sub,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'arch')] AS img_arch,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'variant')] AS img_variant,
    `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'image_type')] AS img_type,
    CAST(
        (
            arrayFilter(key -> NOT has(own_keys, key), `pkgset_kv.k`),
            arrayFilter((value, key) -> NOT has(own_keys, key), `pkgset_kv.v`, `pkgset_kv.k`)
        ),
        'Map(String, String)'
    ) AS img_kv
FROM PackageSetName
WHERE pkgset_depth = 0 AND `pkgset_kv.v`[indexOf(`pkgset_kv.k`, 'class')] != 'repository';

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_packages_source_and_binaries TO PackagesSourceAndBinaries
(
    buildtime    UInt32,
    src_pkg_name String,
    bin_pkg_name String
)
AS SELECT
    max(pkg_buildtime) AS buildtime,
    arrayStringConcat(arraySlice(splitByChar('-', pkg_sourcerpm), 1, -2), '-') AS src_pkg_name,
    pkg_name AS bin_pkg_name
FROM Packages
WHERE pkg_srcrpm_hash != 0 AND pkg_name NOT LIKE 'i586-%'
GROUP BY src_pkg_name, bin_pkg_name;

-- Only the texts that the inserted packages mention are looked up: the dictionary holds millions.
CREATE MATERIALIZED VIEW IF NOT EXISTS mv_src_packages_last_changelog TO SrcPackagesLastChangelog
(
    pkg_hash   UInt64,
    chlog_nick String,
    chlog_name String,
    chlog_date DateTime,
    chlog_evr  String,
    chlog_text String
)
AS SELECT DISTINCT
    entry.pkg_hash AS pkg_hash,
    extract(replaceOne(extract(entry.chlog_name, '<(.+)>'), ' at ', '@'), '(.*)@') AS chlog_nick,
    entry.chlog_name AS chlog_name,
    entry.chlog_date AS chlog_date,
    entry.chlog_evr AS chlog_evr,
    text.chlog_text AS chlog_text
FROM
(
    SELECT
        pkg_hash,
        `pkg_changelog.name`[1] AS chlog_name,
        `pkg_changelog.date`[1] AS chlog_date,
        `pkg_changelog.evr`[1] AS chlog_evr,
        `pkg_changelog.hash`[1] AS chlog_hash
    FROM Packages
    WHERE pkg_sourcepackage = 1
) AS entry
LEFT JOIN
(
    SELECT chlog_hash, chlog_text
    FROM Changelog
    WHERE chlog_hash IN
    (
        SELECT `pkg_changelog.hash`[1]
        FROM Packages
        WHERE pkg_sourcepackage = 1
    )
) AS text ON entry.chlog_hash = text.chlog_hash;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_files TO Files_buffer
(
    pkg_hash        UInt64,
    file_hashname   UInt64,
    file_hashdir    UInt64,
    file_linkto     String,
    file_md5        FixedString(16),
    file_size       UInt32,
    file_mode       UInt16,
    file_rdev       UInt16,
    file_mtime      DateTime,
    file_flag       UInt16,
    file_username   LowCardinality(String),
    file_groupname  LowCardinality(String),
    file_verifyflag UInt32,
    file_device     UInt32,
    file_lang       LowCardinality(String),
    file_class      Enum8('file' = 0, 'directory' = 1, 'symlink' = 2, 'socket' = 3, 'block' = 4, 'char' = 5, 'fifo' = 6)
)
AS SELECT
    pkg_hash,
    murmurHash3_64(file_name) AS file_hashname,
    murmurHash3_64(arrayStringConcat(arrayPopBack(splitByChar('/', file_name)), '/')) AS file_hashdir,
    file_linkto,
    file_md5,
    file_size,
    file_mode,
    file_rdev,
    file_mtime,
    file_flag,
    file_username,
    file_groupname,
    file_verifyflag,
    file_device,
    file_lang,
    file_class
FROM Files_insert;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_filenames_filename TO FileNames_buffer
(
    fn_name String
)
AS SELECT file_name AS fn_name
FROM Files_insert;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_filenames_filedir TO FileNames_buffer
(
    fn_name String
)
AS SELECT arrayStringConcat(arrayPopBack(splitByChar('/', file_name)), '/') AS fn_name
FROM Files_insert;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_specfiles TO Specfiles_buffer
(
    pkg_hash         UInt64,
    pkg_name         String,
    pkg_epoch        UInt32,
    pkg_version      String,
    pkg_release      String,
    specfile_name    String,
    specfile_date    DateTime,
    specfile_content String
)
AS SELECT
    pkg_hash,
    pkg_name,
    pkg_epoch,
    pkg_version,
    pkg_release,
    specfile_name,
    specfile_date,
    base64Decode(specfile_content_base64) AS specfile_content
FROM Specfiles_insert;

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_last_acl TO last_acl_stage1
(
    acl_branch    String,
    acl_date_last DateTime,
    acl_for       String,
    acl_list      Array(String)
)
AS SELECT
    acl_branch,
    max(acl_date) AS acl_date_last,
    acl_for,
    argMax(Acl.acl_list, acl_date) AS acl_list
FROM Acl
GROUP BY acl_branch, acl_for;

-- Fires for every state of every task, though only DONE has anything to write. Each step asks
-- just for the keys that the step before has found, so that the other states read nothing.
CREATE MATERIALIZED VIEW IF NOT EXISTS mv_package_history TO BranchPackageHistory
(
    pkgset_name       LowCardinality(String),
    task_id           UInt32,
    task_changed      DateTime,
    task_message      String,
    tplan_action      Enum8('add' = 0, 'delete' = 1),
    pkg_hash          UInt64,
    pkg_name          String,
    pkg_epoch         UInt32,
    pkg_version       String,
    pkg_release       String,
    pkg_arch          LowCardinality(String),
    pkg_sourcepackage UInt8,
    chlog_date        DateTime,
    chlog_name        String,
    chlog_nick        LowCardinality(String),
    chlog_evr         String,
    chlog_text        String
)
AS WITH
    plan AS
    (
        SELECT
            task_id,
            murmurHash3_64(
                concat(toString(task_id), toString(run.1), toString(run.2), tplan_arch)
            ) AS tplan_hash,
            arrayJoin(
                arrayDistinct(arrayConcat(archs, ['src', 'noarch', 'x86_64-i586']))
            ) AS tplan_arch
        FROM
        (
            SELECT
                task_id,
                argMax((task_try, task_iter), (task_changed, task_try, task_iter)) AS run,
                groupUniqArray(toString(subtask_arch)) AS archs
            FROM TaskIterations
            WHERE task_id IN (SELECT task_id FROM TaskStates WHERE task_state = 'DONE')
            GROUP BY task_id
        )
    ),
    digest AS
    (
        SELECT pkgh_mmh, pkgh_sha256
        FROM PackageHash
        WHERE pkgh_mmh != 0 AND pkgh_sha256 IN
        (
            SELECT tplan_sha256
            FROM TaskPlanPkgHash
            WHERE tplan_hash IN (SELECT tplan_hash FROM plan)
        )
    )
SELECT DISTINCT
    branch.task_repo AS pkgset_name,
    done.task_id AS task_id,
    done.task_changed AS task_changed,
    done.task_message AS task_message,
    changed.tplan_action AS tplan_action,
    changed.pkg_hash AS pkg_hash,
    package.pkg_name AS pkg_name,
    package.pkg_epoch AS pkg_epoch,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_arch AS pkg_arch,
    package.pkg_sourcepackage AS pkg_sourcepackage,
    package.chlog_date AS chlog_date,
    package.chlog_name AS chlog_name,
    extract(replaceOne(extract(package.chlog_name, '<(.+)>'), ' at ', '@'), '(.*)@') AS chlog_nick,
    package.chlog_evr AS chlog_evr,
    package.chlog_text AS chlog_text
FROM
(
    SELECT task_id, task_changed, task_message
    FROM TaskStates
    WHERE task_state = 'DONE'
) AS done
LEFT JOIN
(
    SELECT DISTINCT task_id, task_repo
    FROM Tasks
    WHERE task_id IN (SELECT task_id FROM TaskStates WHERE task_state = 'DONE')
) AS branch ON done.task_id = branch.task_id
LEFT JOIN
(
    SELECT
        plan.task_id AS task_id,
        action.tplan_action AS tplan_action,
        digest.pkgh_mmh AS pkg_hash
    FROM
    (
        SELECT tplan_hash, tplan_action, tplan_sha256
        FROM TaskPlanPkgHash
        WHERE tplan_hash IN (SELECT tplan_hash FROM plan)
    ) AS action
    INNER JOIN plan ON action.tplan_hash = plan.tplan_hash
    INNER JOIN digest ON action.tplan_sha256 = digest.pkgh_sha256
) AS changed ON done.task_id = changed.task_id
LEFT JOIN
(
    SELECT
        entry.pkg_hash AS pkg_hash,
        entry.pkg_name AS pkg_name,
        entry.pkg_epoch AS pkg_epoch,
        entry.pkg_version AS pkg_version,
        entry.pkg_release AS pkg_release,
        entry.pkg_arch AS pkg_arch,
        entry.pkg_sourcepackage AS pkg_sourcepackage,
        entry.chlog_date AS chlog_date,
        entry.chlog_name AS chlog_name,
        entry.chlog_evr AS chlog_evr,
        text.chlog_text AS chlog_text
    FROM
    (
        SELECT
            pkg_hash,
            pkg_name,
            pkg_epoch,
            pkg_version,
            pkg_release,
            pkg_arch,
            pkg_sourcepackage,
            `pkg_changelog.date`[1] AS chlog_date,
            `pkg_changelog.name`[1] AS chlog_name,
            `pkg_changelog.evr`[1] AS chlog_evr,
            `pkg_changelog.hash`[1] AS chlog_hash
        FROM Packages
        WHERE pkg_hash IN (SELECT pkgh_mmh FROM digest)
    ) AS entry
    LEFT JOIN
    (
        SELECT chlog_hash, chlog_text
        FROM Changelog
        WHERE chlog_hash IN
        (
            SELECT `pkg_changelog.hash`[1]
            FROM Packages
            WHERE pkg_hash IN (SELECT pkgh_mmh FROM digest)
        )
    ) AS text ON entry.chlog_hash = text.chlog_hash
) AS package ON changed.pkg_hash = package.pkg_hash;

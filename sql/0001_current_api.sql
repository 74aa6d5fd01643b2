-- What readers of today ask for beyond the contract of 2022. Tables that other tools fill stand
-- here empty, so that a page says "nothing found" instead of failing as a whole.

-- ---- Packages: three more tags ----

ALTER TABLE Packages
    ADD COLUMN IF NOT EXISTS pkg_vcs String,
    ADD COLUMN IF NOT EXISTS pkg_pretrans String,
    ADD COLUMN IF NOT EXISTS pkg_posttrans String;

-- A buffer does not follow its table. Replacing it hands its rows to the table first, and views
-- over it never miss it.
CREATE OR REPLACE TABLE Packages_buffer AS Packages
ENGINE = Buffer(currentDatabase(), Packages, 16, 10, 200, 10000, 1000000, 10000000, 100000000);

-- Views that show every column of Packages. Those that others read come first.

CREATE OR REPLACE VIEW last_packages AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
    state.pkgset_name AS pkgset_name,
    state.pkgset_date AS pkgset_date,
    lower(hex(package.pkg_cs)) AS pkg_cs
FROM Packages_buffer AS package
INNER JOIN (SELECT pkg_hash, pkgset_name, pkgset_date FROM static_last_packages) AS state
    ON package.pkg_hash = state.pkg_hash;

CREATE OR REPLACE VIEW all_packages_with_source AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
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

CREATE OR REPLACE VIEW last_packages_with_source AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
    package.`srcPackage.pkg_srcrpm_hash` AS `srcPackage.pkg_srcrpm_hash`,
    package.sourcepkgname AS sourcepkgname,
    member.pkgset_name AS pkgset_name,
    member.pkgset_date AS pkgset_date,
    member.pkg_hash AS pkg_hash
FROM (SELECT pkg_hash, pkgset_name, pkgset_date FROM last_pkgset) AS member
ALL INNER JOIN all_packages_with_source AS package ON member.pkg_hash = package.pkg_hash;

CREATE OR REPLACE VIEW all_packages AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
    lower(hex(package.pkg_cs)) AS pkg_cs
FROM Packages_buffer AS package
INNER JOIN all_pkgset AS member ON package.pkg_hash = member.pkg_hash;

CREATE OR REPLACE VIEW PackagesWithLastChangelog_view AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
    toDate(package.`pkg_changelog.date`[1]) AS pkg_changelog_date,
    package.`pkg_changelog.name`[1] AS pkg_changelog_name,
    package.`pkg_changelog.evr`[1] AS pkg_changelog_evr,
    text.chlog_text AS pkg_changelog_message
FROM Packages_buffer AS package
LEFT JOIN Changelog_buffer AS text ON package.`pkg_changelog.hash`[1] = text.chlog_hash;

CREATE OR REPLACE VIEW last_cve AS
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
    package.pkg_vcs AS pkg_vcs,
    package.pkg_pretrans AS pkg_pretrans,
    package.pkg_posttrans AS pkg_posttrans,
    package.pkgset_name AS pkgset_name,
    package.pkgset_date AS pkgset_date,
    package.pkg_cs AS pkg_cs
FROM Cve AS match
LEFT JOIN last_packages AS package ON match.pkg_hash = package.pkg_hash;

-- ---- Views for readers, derived from what is loaded ----

CREATE VIEW IF NOT EXISTS lv_all_image_packages AS
SELECT
    image.pkgset_uuid AS pkgset_uuid,
    image.pkgset_date AS pkgset_date,
    image.img_branch AS img_branch,
    image.img_edition AS img_edition,
    image.img_tag AS img_tag,
    image.img_file AS img_file,
    package.pkg_hash AS pkg_hash,
    package.pkg_name AS pkg_name,
    package.pkg_version AS pkg_version,
    package.pkg_release AS pkg_release,
    package.pkg_arch AS pkg_arch
FROM
(
    SELECT DISTINCT node.pkgset_ruuid AS pkgset_ruuid, member.pkg_hash AS pkg_hash
    FROM PackageSet AS member
    INNER JOIN
    (
        SELECT pkgset_uuid, pkgset_ruuid
        FROM PackageSetName
        WHERE pkgset_ruuid IN (SELECT pkgset_uuid FROM ImagePackageSetName)
    ) AS node ON member.pkgset_uuid = node.pkgset_uuid
) AS content
INNER JOIN
(
    SELECT
        pkgset_uuid,
        pkgset_date,
        img_branch,
        img_edition,
        img_tag,
        img_kv['file'] AS img_file
    FROM ImagePackageSetName
) AS image ON content.pkgset_ruuid = image.pkgset_uuid
INNER JOIN
(
    SELECT DISTINCT pkg_hash, pkg_name, pkg_version, pkg_release, pkg_arch
    FROM Packages
    WHERE pkg_sourcepackage = 0
) AS package ON content.pkg_hash = package.pkg_hash;

-- An image is active while the newest status of its edition and that of its tag both show it.
CREATE VIEW IF NOT EXISTS lv_image_packageset AS
SELECT DISTINCT toString(image.img_branch) AS img_branch
FROM ImagePackageSetName AS image
WHERE (img_branch, img_edition) IN
(
    SELECT img_branch, img_edition
    FROM ImageStatus
    GROUP BY img_branch, img_edition
    HAVING argMax(img_show, ts) = 'show'
)
AND img_tag IN
(
    SELECT img_tag
    FROM ImageTagStatus
    GROUP BY img_tag
    HAVING argMax(img_show, ts) = 'show'
);

-- A task that updates a package deletes the old one and adds the new one at the same moment: the
-- addition counts as the later.
CREATE VIEW IF NOT EXISTS lv_branch_deleted_packages AS
SELECT
    pkgset_name,
    pkg_name,
    last_change.2 AS hash,
    last_change.3 AS task,
    last_change.4 AS changed
FROM
(
    SELECT
        pkgset_name,
        pkg_name,
        argMax(
            (tplan_action, pkg_hash, task_id, task_changed),
            (task_changed, tplan_action = 'add', task_id)
        ) AS last_change
    FROM BranchPackageHistory
    WHERE pkg_sourcepackage = 1 AND pkg_hash != 0
    GROUP BY pkgset_name, pkg_name
)
WHERE last_change.1 = 'delete';

CREATE VIEW IF NOT EXISTS lv_repository_statistics AS
SELECT
    branch,
    branch_date,
    arraySort(groupArray((arch, component, packages, bytes, uuid))) AS stats
FROM
(
    SELECT
        node.branch AS branch,
        node.branch_date AS branch_date,
        node.arch AS arch,
        node.component AS component,
        count() AS packages,
        sum(package.pkg_filesize) AS bytes,
        toString(node.pkgset_uuid) AS uuid
    FROM
    (
        SELECT DISTINCT pkgset_uuid, pkg_hash
        FROM PackageSet
        WHERE pkgset_uuid IN (SELECT pkgset_uuid FROM last_pkgnames_without_pname)
    ) AS member
    INNER JOIN
    (
        SELECT
            pkgset_uuid,
            pkgset_name AS branch,
            pkgset_date AS branch_date,
            if(pkgset_depth = 1, 'srpm', pkgset_pname) AS arch,
            if(pkgset_depth = 1, 'srpm', pkgset_nodename) AS component
        FROM last_pkgnames
        WHERE pkgset_class = 'repository' AND pkgset_depth > 0
    ) AS node ON member.pkgset_uuid = node.pkgset_uuid
    INNER JOIN
    (
        SELECT pkg_hash, any(Packages.pkg_filesize) AS pkg_filesize
        FROM Packages
        GROUP BY pkg_hash
    ) AS package ON member.pkg_hash = package.pkg_hash
    GROUP BY branch, branch_date, arch, component, uuid
)
GROUP BY branch, branch_date;

-- ---- Search and progress ----

CREATE TABLE IF NOT EXISTS GlobalSearch
(
    type          LowCardinality(String),
    search_string String,
    lead          String,
    ts            DateTime
)
ENGINE = ReplacingMergeTree(ts)
ORDER BY (type, lead);

CREATE TABLE IF NOT EXISTS FileSearch
(
    search_string String,
    lead          UInt64,
    ts            DateTime
)
ENGINE = ReplacingMergeTree(ts)
ORDER BY search_string;

CREATE TABLE IF NOT EXISTS TaskSubtaskProgress
(
    task_id            UInt32,
    subtask_id         UInt32,
    type               LowCardinality(String),
    task_repo          LowCardinality(String),
    task_owner         LowCardinality(String),
    subtask_type       Enum8('unknown' = 0, 'srpm' = 1, 'gear' = 2, 'copy' = 3, 'delete' = 4, 'rebuild' = 5),
    subtask_srpm       String,
    subtask_srpm_name  String,
    subtask_srpm_evr   String,
    subtask_dir        String,
    subtask_tag_id     String,
    subtask_tag_name   String,
    subtask_tag_author String,
    subtask_package    String,
    subtask_pkg_from   LowCardinality(String),
    subtask_changed    DateTime,
    arch               LowCardinality(String),
    status             LowCardinality(String),
    stage_status       LowCardinality(String),
    ts                 DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY (task_id, subtask_id)
ORDER BY (task_id, subtask_id, subtask_changed, type, arch);

-- ---- Names of packages elsewhere ----

CREATE TABLE IF NOT EXISTS PackagesNameConversion
(
    pkg_name   String,
    pnc_state  Enum8('inactive' = 0, 'active' = 1, 'candidate' = 2),
    pnc_result String,
    pnc_type   LowCardinality(String),
    pnc_source LowCardinality(String),
    ts         DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (pkg_name, pnc_type, pnc_result);

CREATE TABLE IF NOT EXISTS PncChangeHistory
(
    pncc_user      String,
    pncc_reason    String,
    pncc_type      Enum8('create' = 0, 'update' = 1, 'discard' = 2),
    pncc_source    Enum8('auto' = 0, 'manual' = 1),
    pncc_origin    Enum8('parent' = 0, 'child' = 1),
    pkg_name       String,
    pnc_result     String,
    pnc_type       String,
    transaction_id UUID,
    ts             DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (pkg_name, pnc_type, pnc_result);

-- ---- Vulnerabilities ----

CREATE TABLE IF NOT EXISTS Vulnerabilities
(
    vuln_id                String,
    vuln_type              LowCardinality(String),
    vuln_hash              UInt64,
    vuln_summary           String,
    vuln_score             Float32,
    vuln_severity          LowCardinality(String),
    vuln_url               String,
    vuln_modified_date     DateTime,
    vuln_published_date    DateTime,
    vuln_json              String,
    `vuln_references.type` Array(String),
    `vuln_references.link` Array(String),
    vuln_rejected          UInt8,
    ts                     DateTime64(3) MATERIALIZED now64()
)
ENGINE = ReplacingMergeTree
ORDER BY (vuln_id, vuln_hash);

CREATE TABLE IF NOT EXISTS CpeMatch
(
    vuln_id                    String,
    vuln_hash                  UInt64,
    cpm_cpe                    String,
    cpm_version_start          String,
    cpm_version_end            String,
    cpm_version_start_excluded UInt8,
    cpm_version_end_excluded   UInt8,
    cpe_hash                   UInt64,
    ts                         DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (vuln_id, vuln_hash, cpe_hash);

CREATE TABLE IF NOT EXISTS PackagesCveMatch
(
    pkg_hash      UInt64,
    pkg_name      String,
    pkg_cpe_hash  UInt64,
    cpm_cpe       String,
    cpm_cpe_hash  UInt64,
    vuln_id       String,
    vuln_hash     UInt64,
    is_vulnerable UInt8,
    ts            DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (vuln_id, pkg_name, pkg_hash, pkg_cpe_hash, cpm_cpe_hash, vuln_hash);

CREATE TABLE IF NOT EXISTS PackagesVulnerabilityStatus
(
    pkg_hash      UInt64,
    pkg_name      String,
    pkgset_name   LowCardinality(String),
    vuln_id       String,
    vuln_hash     UInt64,
    is_vulnerable UInt8,
    is_fixed      UInt8,
    ts            DateTime64(3) MATERIALIZED now64()
)
ENGINE = ReplacingMergeTree
ORDER BY (vuln_id, pkg_name, pkgset_name, pkg_hash, vuln_hash);

CREATE TABLE IF NOT EXISTS VulnerabilityStatus
(
    vuln_id        String,
    vs_author      String,
    vs_status      String,
    vs_resolution  String,
    vs_reason      String,
    vs_subscribers Array(String),
    vs_json        String,
    vs_updated     DateTime DEFAULT now(),
    ts             DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (vuln_id, vs_updated);

-- ---- Errata ----

-- The first sixteen columns are read by position; the two derived ones stay out of a star.
CREATE TABLE IF NOT EXISTS ErrataHistory
(
    errata_id            String,
    eh_created           DateTime,
    eh_updated           DateTime,
    eh_hash              UInt64,
    eh_type              Enum8('task' = 0, 'branch' = 1, 'bulletin' = 2),
    eh_source            Enum8('branch' = 0, 'changelog' = 1),
    `eh_references.type` Array(String),
    `eh_references.link` Array(String),
    pkg_hash             UInt64,
    pkg_name             String,
    pkg_version          String,
    pkg_release          String,
    pkgset_name          LowCardinality(String),
    task_id              UInt32,
    subtask_id           UInt32,
    task_state           LowCardinality(String),
    eh_json              String,
    errata_id_noversion  String MATERIALIZED arrayStringConcat(arrayPopBack(splitByChar('-', errata_id)), '-'),
    errata_id_version    UInt32 MATERIALIZED toUInt32OrZero(splitByChar('-', errata_id)[-1]),
    ts                   DateTime64(3) DEFAULT now64()
)
ENGINE = ReplacingMergeTree
ORDER BY (errata_id, eh_hash);

CREATE TABLE IF NOT EXISTS ErrataChangeHistory
(
    ec_id           String,
    ec_id_noversion String MATERIALIZED arrayStringConcat(arrayPopBack(splitByChar('-', ec_id)), '-'),
    ec_created      DateTime,
    ec_updated      DateTime,
    ec_user         String,
    ec_user_ip      String,
    ec_reason       String,
    ec_type         Enum8('create' = 0, 'update' = 1, 'discard' = 2),
    ec_source       Enum8('auto' = 0, 'manual' = 1),
    ec_origin       Enum8('parent' = 0, 'child' = 1),
    errata_id       String,
    transaction_id  UUID,
    ts              DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY (errata_id, ec_id);

CREATE VIEW IF NOT EXISTS last_discarded_erratas AS
SELECT errata_id
FROM ErrataChangeHistory
GROUP BY errata_id
HAVING argMax(ec_type, ts) = 'discard';

CREATE TABLE IF NOT EXISTS ErrataUsers
(
    `user`       String,
    display_name String,
    `group`      String,
    roles        Array(String),
    ts           DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY `user`;

CREATE TABLE IF NOT EXISTS ErrataUsersAliases
(
    `user`  String,
    aliases Array(String),
    ts      DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
ORDER BY `user`;

CREATE TABLE IF NOT EXISTS ErrataUsersSubscriptions
(
    `user`      String,
    entity_type String,
    entity_link String,
    state       Enum8('inactive' = 0, 'active' = 1),
    assigner    String,
    `date`      DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (`user`, entity_type, entity_link);

-- ---- Comments and reasons ----

CREATE TABLE IF NOT EXISTS Comments
(
    comment_id                UInt64,
    comment_pid               UInt64,
    comment_rid               UInt64,
    comment_entity_type       String,
    comment_entity_link       String,
    comment_author            String,
    comment_text              String,
    `comment_references.type` Array(String),
    `comment_references.link` Array(String),
    comment_created           DateTime
)
ENGINE = MergeTree
ORDER BY (comment_entity_type, comment_entity_link, comment_id);

CREATE TABLE IF NOT EXISTS CommentsChangeHistory
(
    comment_id UInt64,
    cc_action  Enum8('create' = 0, 'update' = 1, 'discard' = 2),
    cc_user    String,
    cc_user_ip String,
    cc_reason  String,
    ts         DateTime64(3) DEFAULT now64()
)
ENGINE = MergeTree
ORDER BY (comment_id, ts);

CREATE TABLE IF NOT EXISTS DefaultReasons
(
    dr_text       String,
    dr_source     String,
    dr_action     String,
    dr_is_active  UInt8,
    dr_is_deleted UInt8,
    ts            DateTime64(3) DEFAULT now64()
)
ENGINE = MergeTree
ORDER BY (dr_source, dr_action, dr_text);

-- ---- Virus scanner ----

CREATE TABLE IF NOT EXISTS AntivirusScanStatus
(
    av_scanner  LowCardinality(String),
    av_type     LowCardinality(String),
    av_issue    String,
    av_message  String,
    av_target   LowCardinality(String),
    file_name   String,
    pkgset_name LowCardinality(String),
    pkg_name    String,
    pkg_version String,
    pkg_release String,
    pkg_arch    LowCardinality(String),
    av_date     DateTime
)
ENGINE = MergeTree
ORDER BY (av_scanner, pkgset_name, av_date, pkg_name);

-- ---- Functions: they belong to the whole server ----

CREATE FUNCTION IF NOT EXISTS extractErrataIdVersion AS (errata_id) ->
    toUInt32OrZero(splitByChar('-', errata_id)[-1]);

CREATE FUNCTION IF NOT EXISTS extractErrataIdNoVersion AS (errata_id) ->
    arrayStringConcat(arrayPopBack(splitByChar('-', errata_id)), '-');

-- Somebody without aliases is known by the one name.
CREATE FUNCTION IF NOT EXISTS get_errata_user_original_name AS (name) ->
    arrayElement(
        arrayPushBack(
            arrayMap(
                known -> known.1,
                arrayFilter(
                    known -> known.1 = name OR has(known.2, name),
                    (
                        SELECT groupArray((person, names))
                        FROM
                        (
                            SELECT `user` AS person, argMax(aliases, ts) AS names
                            FROM ErrataUsersAliases
                            GROUP BY person
                            ORDER BY person
                        )
                    )
                )
            ),
            name
        ),
        1
    );

CREATE FUNCTION IF NOT EXISTS get_errata_user_aliases AS (name) ->
    arrayDistinct(
        arrayPushFront(
            arrayFlatten(
                arrayMap(
                    known -> arrayPushFront(known.2, known.1),
                    arrayFilter(
                        known -> known.1 = name OR has(known.2, name),
                        (
                            SELECT groupArray((person, names))
                            FROM
                            (
                                SELECT `user` AS person, argMax(aliases, ts) AS names
                                FROM ErrataUsersAliases
                                GROUP BY person
                                ORDER BY person
                            )
                        )
                    )
                )
            ),
            name
        )
    );

-- ---- TaskProgress in its newer shape ----

-- The table of 2022 had the same name and other columns. It goes when it is empty and steps aside
-- with its rows when it is not. This stands last: a client that does not heed the conditions stops
-- here, and nothing is lost, when the table holds rows of either shape.

-- only when TaskProgress has column tp_action and no rows
DROP TABLE IF EXISTS IF EMPTY TaskProgress;

-- only when TaskProgress has column tp_action
RENAME TABLE IF EXISTS TaskProgress TO TaskProgress_2022;

CREATE TABLE IF NOT EXISTS TaskProgress
(
    task_id       UInt32,
    type          LowCardinality(String),
    task_repo     LowCardinality(String),
    task_owner    LowCardinality(String),
    task_state    LowCardinality(String),
    task_try      UInt16,
    task_iter     UInt8,
    task_testonly UInt8,
    task_changed  DateTime,
    task_message  String,
    task_depends  Array(UInt32),
    stage         LowCardinality(String),
    stage_status  LowCardinality(String),
    ts            DateTime64(3) MATERIALIZED now64()
)
ENGINE = MergeTree
PRIMARY KEY task_id
ORDER BY (task_id, task_changed, type);

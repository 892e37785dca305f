<?php
// What the receiver, the worker and the catching up share: the signature, the tables, and how an event takes effect.
declare(strict_types=1);

const KNOWN = ['recharge.success', 'recharge.failed', 'recharge.reversed'];

/** Whether these are the bytes that Ringback signed, within the last five minutes. */
function verified(string $body): bool
{
    $header = fn (string $name): string => $_SERVER["HTTP_WEBHOOK_$name"] ?? '';
    $key = base64_decode(substr((string) getenv('SECRET'), strlen('whsec_')), true) ?: throw new Exception('set SECRET');
    $signed = "{$header('ID')}.{$header('TIMESTAMP')}.$body";
    $wanted = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
    $fits = array_filter(explode(' ', $header('SIGNATURE')), fn (string $given): bool => hash_equals($wanted, $given));
    return $fits && abs(time() - (int) $header('TIMESTAMP')) <= 300;
}

function database(): PDO
{
    $db = new PDO('sqlite:' . (getenv('DATABASE') ?: __DIR__ . '/receiver.db'));
    $db->setAttribute(PDO::ATTR_DEFAULT_FETCH_MODE, PDO::FETCH_ASSOC);
    $db->exec('
        PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
        CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
        CREATE TABLE IF NOT EXISTS recharge (reference_no TEXT PRIMARY KEY, status TEXT, amount TEXT, sequence INTEGER);
        CREATE TABLE IF NOT EXISTS work (number INTEGER PRIMARY KEY, reference_no TEXT, status TEXT);
        CREATE TABLE IF NOT EXISTS notice (reference_no TEXT, text TEXT);
        CREATE TABLE IF NOT EXISTS feed (one INTEGER PRIMARY KEY CHECK (one = 1), after INTEGER);');
    return $db;
}

/** Does all of it or nothing. IMMEDIATE, so that two at once wait for each other in place of failing. */
function atomically(PDO $db, callable $change): void
{
    $db->exec('BEGIN IMMEDIATE');
    try {
        $change();
        $db->exec('COMMIT');
    } catch (Throwable $problem) {
        $db->exec('ROLLBACK');
        throw $problem;
    }
}

/** An event takes effect once, whether it was sent here, sent again or read from the feed; an older fact changes nothing. */
function record(PDO $db, string $id, array $data): void
{
    atomically($db, function () use ($db, $id, $data): void {
        $seen = $db->prepare('INSERT OR IGNORE INTO seen (id) VALUES (?)');
        $seen->execute([$id]);
        if ($seen->rowCount() === 0) {
            return;
        }
        $recharge = $db->prepare('INSERT INTO recharge VALUES (?, ?, ?, ?) ON CONFLICT (reference_no) DO UPDATE
            SET status = excluded.status, amount = excluded.amount, sequence = excluded.sequence
            WHERE excluded.sequence > recharge.sequence');
        $recharge->execute([$data['reference_no'], $data['status'], $data['amount'], $data['sequence']]);
        if ($recharge->rowCount() === 1) {
            $work = $db->prepare('INSERT INTO work (reference_no, status) VALUES (?, ?)');
            $work->execute([$data['reference_no'], $data['status']]);
        }
    });
}

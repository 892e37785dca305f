<?php

/*
 * A vendor's receiver for profile `globaltopup`: plain PHP and its openssl, as vendors wrote it from the public
 * description. Ringback must satisfy it as it stands, so it uses PHP's own functions and looks at nothing that the
 * description does not mention; `webhook-id` is only copied into the log.
 *
 *     PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:PORT php_receiver.php
 *
 * Environment: SECRET (as typed), OUT (file that JSON lines are appended to), CIPHER_TEXT (`raw` or `base64`).
 */

declare(strict_types=1);

ini_set('display_errors', '0'); // A warning belongs on stderr, not in an answer.

$secret = (string) getenv('SECRET', true);
$out = (string) getenv('OUT', true);
$cipherText = getenv('CIPHER_TEXT', true) ?: 'raw';
if ($secret === '' || $out === '' || !in_array($cipherText, ['raw', 'base64'], true)) {
    http_response_code(500);
    error_log('php_receiver.php: set SECRET and OUT, and CIPHER_TEXT to raw or base64, in the environment');
    return;
}

$entry = [
    'verified' => false,
    'webhook_id' => $_SERVER['HTTP_WEBHOOK_ID'] ?? null,
    'sequence' => null,
    'type' => null,
    'reference_no' => null,
    'status' => null,
    'error' => null,
];
$connecting = $_SERVER['REQUEST_METHOD'] === 'GET';

try {
    if ($connecting) {
        $entry['type'] = 'connect';
    }
    checkSignature($secret);
    if ($_SERVER['REQUEST_METHOD'] === 'POST') {
        $payload = decryptPayload((string) file_get_contents('php://input'), $secret, $cipherText);
        $entry['sequence'] = $payload['sequence'] ?? null;
        $entry['type'] = $payload['event'] ?? null;
        $entry['reference_no'] = $payload['reference_no'] ?? null;
        $entry['status'] = $payload['status'] ?? null;
    } elseif (!$connecting) {
        throw new Exception('expected POST or GET, got ' . $_SERVER['REQUEST_METHOD']);
    }
    $entry['verified'] = true;
} catch (Throwable $problem) {
    $entry['error'] = $problem->getMessage();
}

// Logged before it is answered: whoever has seen the answer finds the line.
$line = json_encode($entry, JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE) . "\n";
if (file_put_contents($out, $line, FILE_APPEND | LOCK_EX) !== strlen($line)) {
    http_response_code(500);
} elseif (!$entry['verified']) {
    http_response_code(400);
} elseif ($connecting) {
    header('Content-Type: application/json');
    echo '{}';
} else {
    http_response_code(204);
}

function checkSignature(string $secret): void
{
    $expected = hash_hmac('sha256', hash('sha256', $secret), $secret);
    if (!hash_equals($expected, $_SERVER['HTTP_X_SIGNATURE'] ?? '')) {
        throw new Exception('X-Signature does not match');
    }
}

function decryptPayload(string $body, string $secret, string $cipherText): array
{
    $request = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
    if (!is_array($request) || !is_string($request['data'] ?? null)) {
        throw new Exception('the body is not {"data": "..."}');
    }
    $sealed = base64_decode($request['data'], true);
    if ($sealed === false || strlen($sealed) <= 16) {
        throw new Exception('data is not base64 of an IV and what follows it');
    }
    $options = $cipherText === 'raw' ? OPENSSL_RAW_DATA : 0;
    $plain = openssl_decrypt(substr($sealed, 16), 'AES-256-CBC', $secret, $options, substr($sealed, 0, 16));
    if ($plain === false) {
        throw new Exception('data does not decrypt');
    }
    $payload = json_decode($plain, true, 512, JSON_THROW_ON_ERROR);
    if (!is_array($payload)) {
        throw new Exception('the decrypted payload is not an object');
    }
    return $payload;
}
